// The integer vocabulary of kernels/vector/matmul for AVX-512 with VNNI: sixteen words of four bytes.
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

using Bytes = __m512i;
// The code of an eight-bit weight is its value plus this, because vpdpbusd needs unsigned weights.
constexpr int kCodeZero = 128;
#ifdef QUIRE_SMALL_TILES
constexpr TileShape kQ8Tile = {2, 4};
constexpr TileShape kFloatTile = {2, 4};
#else
constexpr TileShape kQ8Tile = {6, 12};     // 12 sums of a group and 12 results in 32 registers
constexpr TileShape kFloatTile = {6, 24};  // 24 results
#endif

constexpr MatmulTuning kUsualTuning = {};

inline Bytes load_bytes(const void* p) { return _mm512_loadu_si512(p); }
inline void store_bytes(void* p, Bytes x) { _mm512_storeu_si512(p, x); }
inline Bytes set1_byte(int x) { return _mm512_set1_epi8(static_cast<char>(x)); }
// The same four bytes in every word.
inline Bytes load_word(const void* p) {
  int32_t word;
  __builtin_memcpy(&word, p, sizeof word);
  return _mm512_set1_epi32(word);
}
inline Bytes and_bytes(Bytes a, Bytes b) { return _mm512_and_si512(a, b); }
inline Bytes or_bytes(Bytes a, Bytes b) { return _mm512_or_si512(a, b); }
inline Bytes add_bytes(Bytes a, Bytes b) { return _mm512_add_epi8(a, b); }
// Shifts words of 16 bits: the caller must mask the bits that cross into another byte.
template <int kBits>
inline Bytes shift_left(Bytes x) {
  if constexpr (kBits == 0) return x;
  if constexpr (kBits > 0) return _mm512_slli_epi16(x, kBits);
  if constexpr (kBits < 0) return _mm512_srli_epi16(x, -kBits);
}
inline Bytes load_table(const void* p) {
  return _mm512_broadcast_i32x4(_mm_loadu_si128(static_cast<const __m128i*>(p)));
}
inline Bytes look_up(Bytes table, Bytes index) { return _mm512_shuffle_epi8(table, index); }

// Byte i of kLanes as word i.
inline Bytes widen_u8(const void* p) { return _mm512_cvtepu8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p))); }

// Dots distinguishes only one kind of codes.
constexpr int dot_bits(int) { return 8; }

// Sums of four products per word: codes, as unsigned bytes, times activations in [-127, 127]. Uses inline assembly
// because GCC 12 copies the sum before and after the intrinsic in every round of a loop, which costs a third of the
// speed.
template <int kCodeBits>
struct Dots {
  static constexpr int kStep = 1;  // words in a call
  static Bytes begin(Bytes start) { return start; }
  static Bytes add(Bytes sum, const Bytes (&codes)[1], const Bytes (&activations)[1]) {
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(codes[0]), "v"(activations[0]));
    return sum;
  }
  static Bytes end(Bytes sum, Bytes) { return sum; }
};
// sum - a * b for every word; a and b are 16 bits in the low half of each word.
inline Bytes subtract_products(Bytes sum, Bytes a, Bytes b) { return _mm512_sub_epi32(sum, _mm512_madd_epi16(a, b)); }
inline Vec as_floats(Bytes x) { return _mm512_castsi512_ps(x); }

// Byte kByte of every word, a code of a weight, as a float.
template <int kByte>
inline Vec code_floats(Bytes words) {
  const Bytes shifted = kByte == 0 ? words : _mm512_srli_epi32(words, 8 * kByte);
  return _mm512_cvtepi32_ps(kByte == 3 ? shifted : _mm512_and_si512(shifted, _mm512_set1_epi32(0xff)));
}
inline Vec widen_i8(const void* p) {
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p))));
}
// 2^(e - 128) for kLanes bytes e; 255 gives a number that makes the result infinite or NaN.
inline Vec load_e8m0_halves(const void* p) {
  const __m512i e = _mm512_cvtepu8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p)));
  const __m512i bits = _mm512_max_epi32(_mm512_slli_epi32(e, 23), _mm512_set1_epi32(0x00400000));
  return _mm512_mul_ps(_mm512_castsi512_ps(bits), _mm512_set1_ps(0.5f));
}
// Two vectors of E4M3 codes, none of them NaN, times 2^-8. Read as f16, a code lacks the top bit of the exponent, which
// the extension of the sign fills.
inline void load_e4m3_256ths(const void* p, Vec& first, Vec& second) {
  const __m512i x = _mm512_cvtepi8_epi16(_mm256_loadu_si256(static_cast<const __m256i*>(p)));
  const __m512i half = _mm512_and_si512(_mm512_slli_epi16(x, 7), _mm512_set1_epi16(static_cast<short>(0xbfff)));
  first = _mm512_cvtph_ps(_mm512_castsi512_si256(half));
  second = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(half, 1));
}
// x holds whole numbers in [-128, 127].
inline void store_i8(void* p, Vec x) {
  _mm_storeu_si128(static_cast<__m128i*>(p), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(x)));
}

// Spreads the bytes at `kept` to those places of a vector that the bitmap names, and moves `kept` behind them; the
// others become kCodeZero. Reads up to a vector at `kept`.
struct TableExpander {
  static Bytes expand(const std::byte*& kept, const std::byte* bitmap) {
    uint64_t bits;
    __builtin_memcpy(&bits, bitmap, sizeof bits);
    const __m256i low = expand_32(kept, static_cast<uint32_t>(bits));
    const __m256i high = expand_32(kept, static_cast<uint32_t>(bits >> 32));
    const Bytes both = _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
    return _mm512_mask_blend_epi8(_cvtu64_mask64(bits), set1_byte(kCodeZero), both);
  }
};
// The same by an instruction of VBMI2, which some processors with VNNI lack: so it is written in assembly, in code that
// is compiled for all of them.
struct FastExpander {
  static bool runs_here() { return __builtin_cpu_supports("avx512vbmi2"); }
  static Bytes expand(const std::byte*& kept, const std::byte* bitmap) {
    uint64_t bits;
    __builtin_memcpy(&bits, bitmap, sizeof bits);
    Bytes spread = set1_byte(kCodeZero);
    __asm__("vpexpandb %2, %0%{%1%}" : "+v"(spread) : "Yk"(_cvtu64_mask64(bits)), "v"(load_bytes(kept)));
    kept += __builtin_popcountll(bits);
    return spread;
  }
};

// The operation that the roof of int8 products repeats.
inline Bytes roof_dot_step(Bytes sum, Bytes factor) { return Dots<8>::add(sum, {factor}, {factor}); }

}  // namespace
}  // namespace quire
