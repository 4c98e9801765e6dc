// The integer vocabulary of kernels/vector/matmul for AVX2: eight words of four bytes.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "isa/vec.h"
#include "kernels/kernels.h"
#include "kernels/vector/expand_table.h"
#include "kernels/vector/tile_shape.h"

namespace quire {
namespace {

using Bytes = __m256i;
// The code of an eight-bit weight is its value plus this.
constexpr int kCodeZero = 0;
#ifdef QUIRE_SMALL_TILES
constexpr TileShape kQ8Tile = {2, 4};
constexpr TileShape kFloatTile = {2, 4};
#else
constexpr TileShape kQ8Tile = {4, 8};      // needs more than 16 registers, but is the fastest
constexpr TileShape kFloatTile = {6, 12};  // 12 results of 16 registers
#endif

// The sums of one token and panel are two chains of additions: with four panels, their latency is hidden and memory is
// read in four streams. (Zen 3, two threads, one token, 2048 x 2048: Q4_0 reaches 75 to 86 % of the read roof, F16 82
// to 97 %.)
constexpr MatmulTuning kUsualTuning = {.packed_tokens = 2 * kQ8Tile.tokens, .few_panels = 4};

inline Bytes load_bytes(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
inline void store_bytes(void* p, Bytes x) { _mm256_storeu_si256(static_cast<__m256i*>(p), x); }
inline Bytes set1_byte(int x) { return _mm256_set1_epi8(static_cast<char>(x)); }
// The same four bytes in every word.
inline Bytes load_word(const void* p) {
  int32_t word;
  __builtin_memcpy(&word, p, sizeof word);
  return _mm256_set1_epi32(word);
}
inline Bytes and_bytes(Bytes a, Bytes b) { return _mm256_and_si256(a, b); }
inline Bytes or_bytes(Bytes a, Bytes b) { return _mm256_or_si256(a, b); }
inline Bytes add_bytes(Bytes a, Bytes b) { return _mm256_add_epi8(a, b); }
// Shifts words of 16 bits: the caller must mask the bits that cross into another byte.
template <int kBits>
inline Bytes shift_left(Bytes x) {
  if constexpr (kBits == 0) return x;
  if constexpr (kBits > 0) return _mm256_slli_epi16(x, kBits);
  if constexpr (kBits < 0) return _mm256_srli_epi16(x, -kBits);
}
inline Bytes load_table(const void* p) {
  return _mm256_broadcastsi128_si256(_mm_loadu_si128(static_cast<const __m128i*>(p)));
}
inline Bytes look_up(Bytes table, Bytes index) { return _mm256_shuffle_epi8(table, index); }

// Byte i of kLanes as word i.
inline Bytes widen_u8(const void* p) { return _mm256_cvtepu8_epi32(_mm_loadl_epi64(static_cast<const __m128i*>(p))); }

// The kinds of codes that Dots distinguishes, by their largest number of bits.
constexpr int dot_bits(int code_bits) { return code_bits <= 4 ? 4 : code_bits <= 6 ? 6 : 8; }

// Sums of four products per word: codes of kCodeBits (unsigned below 8 bits, in [-128, 127] with 8) times activations
// in [-127, 127]; the result includes `start`. Up to eight words may be added, kStep in each call.
template <int kCodeBits>
struct Dots {
  // The sum of two products is below 2^15; with codes of six bits the sum of four is, and with four bits that of
  // sixteen, so that these need not be widened before the end.
  static constexpr bool kPairs = kCodeBits <= 4;
  static constexpr int kStep = kCodeBits == 6 ? 2 : 1;
  static Bytes begin(Bytes start) { return kPairs ? _mm256_setzero_si256() : start; }
  static Bytes add(Bytes sum, const Bytes (&codes)[kStep], const Bytes (&activations)[kStep]) {
    if constexpr (kPairs) {
      return in_order(_mm256_add_epi16(sum, _mm256_maddubs_epi16(codes[0], activations[0])));
    } else if constexpr (kStep == 2) {
      const Bytes pairs = _mm256_add_epi16(_mm256_maddubs_epi16(codes[0], activations[0]),
                                           _mm256_maddubs_epi16(codes[1], activations[1]));
      return in_order(_mm256_add_epi32(sum, sum_pairs(pairs)));
    } else {
      // |code| as an unsigned byte, times the activation with the sign of the code.
      const Bytes pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(codes[0]), _mm256_sign_epi8(activations[0], codes[0]));
      return in_order(_mm256_add_epi32(sum, sum_pairs(pairs)));
    }
  }
  static Bytes end(Bytes sum, Bytes start) { return kPairs ? _mm256_add_epi32(start, sum_pairs(sum)) : sum; }
  static Bytes sum_pairs(Bytes pairs) { return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)); }
  // GCC would turn the chain of integer sums into a tree whose leaves are all products: more than there are registers.
  static Bytes in_order(Bytes sum) {
    __asm__("" : "+x"(sum));
    return sum;
  }
};
// sum - a * b for every word; a and b are 16 bits in the low half of each word.
inline Bytes subtract_products(Bytes sum, Bytes a, Bytes b) { return _mm256_sub_epi32(sum, _mm256_madd_epi16(a, b)); }
inline Vec as_floats(Bytes x) { return _mm256_castsi256_ps(x); }

// Byte kByte of every word, a code of a weight, as a float. Codes of eight bits are signed, others small.
template <int kByte>
inline Vec code_floats(Bytes words) {
  return _mm256_cvtepi32_ps(_mm256_srai_epi32(_mm256_slli_epi32(words, 24 - 8 * kByte), 24));
}
inline Vec widen_i8(const void* p) {
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(static_cast<const __m128i*>(p))));
}
// 2^(e - 128) for kLanes bytes e; 255 gives a number that makes the result infinite or NaN.
inline Vec load_e8m0_halves(const void* p) {
  const __m256i e = _mm256_cvtepu8_epi32(_mm_loadl_epi64(static_cast<const __m128i*>(p)));
  const __m256i bits = _mm256_max_epi32(_mm256_slli_epi32(e, 23), _mm256_set1_epi32(0x00400000));
  return _mm256_mul_ps(_mm256_castsi256_ps(bits), _mm256_set1_ps(0.5f));
}
// Two vectors of E4M3 codes, none of them NaN, times 2^-8. Read as f16, a code lacks the top bit of the exponent, which
// the extension of the sign fills.
inline void load_e4m3_256ths(const void* p, Vec& first, Vec& second) {
  const __m256i x = _mm256_cvtepi8_epi16(_mm_loadu_si128(static_cast<const __m128i*>(p)));
  const __m256i half = _mm256_and_si256(_mm256_slli_epi16(x, 7), _mm256_set1_epi16(static_cast<short>(0xbfff)));
  first = _mm256_cvtph_ps(_mm256_castsi256_si128(half));
  second = _mm256_cvtph_ps(_mm256_extracti128_si256(half, 1));
}
// x holds whole numbers in [-128, 127].
inline void store_i8(void* p, Vec x) {
  const __m256i words = _mm256_cvtps_epi32(x);
  const __m128i halves = _mm_packs_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
  _mm_storel_epi64(static_cast<__m128i*>(p), _mm_packs_epi16(halves, halves));
}

// Spreads the bytes at `kept` to those places of a vector that the bitmap names, and moves `kept` behind them; the
// others become kCodeZero. Reads up to a vector at `kept`.
struct TableExpander {
  static Bytes expand(const std::byte*& kept, const std::byte* bitmap) {
    uint32_t bits;
    __builtin_memcpy(&bits, bitmap, sizeof bits);
    return expand_32(kept, bits);
  }
};
static_assert(kCodeZero == 0);
// The same by an instruction, if the processor has it: AVX2 has none.
struct FastExpander : TableExpander {
  static bool runs_here() { return false; }
};

// The operation that the roof of int8 products repeats: only the products, because the extra work of a sum (Dots) is
// the price of not having VNNI. Each result is the operand of the next operation: a chain, as a sum would be.
inline Bytes roof_dot_step(Bytes sum, Bytes factor) { return _mm256_maddubs_epi16(sum, factor); }

}  // namespace
}  // namespace quire
