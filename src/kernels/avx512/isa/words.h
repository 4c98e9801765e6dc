// Pairs of 16-bit numbers for kernels/vector/code_product.h, on AVX-512 with VNNI.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "isa/vec.h"

namespace quire {
namespace {

using Words = __m512i;  // kLanes sums, or kLanes pairs of 16 bits

inline Words zero_words() { return _mm512_setzero_si512(); }
inline Words set1_word(int32_t x) { return _mm512_set1_epi32(x); }
// Pairs of signed bytes.
inline Words widen_bytes(const std::byte* p) {
  return _mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
// Pairs of the low (0) or high (1) halves of bytes, minus 8.
template <int kHalf>
inline Words widen_nibbles(const std::byte* p) {
  const __m512i bytes = _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  const __m512i codes = kHalf == 1 ? _mm512_srli_epi16(bytes, 4) : _mm512_and_si512(bytes, _mm512_set1_epi16(15));
  return _mm512_sub_epi16(codes, _mm512_set1_epi16(8));
}
inline Words load_words(const std::byte* p) { return _mm512_loadu_si512(p); }
template <int kBits>
inline Words shift_words_left(Words x) {
  return _mm512_slli_epi16(x, kBits);
}
template <int kBits>
inline Words shift_words_right(Words x) {
  return _mm512_srli_epi16(x, kBits);
}
// The same halves, with bit 4 from bit 4 of `bits`, minus 16.
template <int kHalf>
inline Words widen_five_bits(const std::byte* p, Words bits) {
  const __m512i bytes = _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  const __m512i low = kHalf == 1 ? _mm512_srli_epi16(bytes, 4) : _mm512_and_si512(bytes, _mm512_set1_epi16(15));
  constexpr int kLowOrMaskedBits = 0xf8;  // a | (b & c)
  const __m512i codes = _mm512_ternarylogic_epi32(low, bits, _mm512_set1_epi16(16), kLowOrMaskedBits);
  return _mm512_sub_epi16(codes, _mm512_set1_epi16(16));
}
// The pairs (even[i], odd[i]) of 2 * kLanes numbers.
inline void interleave(const uint16_t* even, const uint16_t* odd, Words& first, Words& second) {
  alignas(64) static constexpr uint16_t kPairs[2][32] = {
      {0, 32, 1, 33, 2,  34, 3,  35, 4,  36, 5,  37, 6,  38, 7,  39,
       8, 40, 9, 41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47},
      {16, 48, 17, 49, 18, 50, 19, 51, 20, 52, 21, 53, 22, 54, 23, 55,
       24, 56, 25, 57, 26, 58, 27, 59, 28, 60, 29, 61, 30, 62, 31, 63}};
  const __m512i a = _mm512_loadu_si512(even);
  const __m512i b = _mm512_loadu_si512(odd);
  first = _mm512_permutex2var_epi16(a, _mm512_load_si512(kPairs[0]), b);
  second = _mm512_permutex2var_epi16(a, _mm512_load_si512(kPairs[1]), b);
}
// sum plus both products of each pair. Uses inline assembly because GCC 12 copies the sum before and after the
// intrinsic in a loop.
inline Words dot2(Words sum, Words a, Words b) {
  __asm__("vpdpwssd %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
  return sum;
}
inline Vec to_floats(Words x) { return _mm512_cvtepi32_ps(x); }
// Rounds to nearest even; values beyond 16 bits become the nearest 16-bit integer, NaN becomes the smallest.
inline void store_i16(void* p, Vec x) {
  _mm256_storeu_si256(static_cast<__m256i*>(p), _mm512_cvtsepi32_epi16(_mm512_cvtps_epi32(x)));
}

}  // namespace
}  // namespace quire
