// Pairs of 16-bit numbers for kernels/vector/code_product.h, on AVX2.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "isa/vec.h"

namespace quire {
namespace {

using Words = __m256i;  // kLanes sums, or kLanes pairs of 16 bits

inline Words zero_words() { return _mm256_setzero_si256(); }
inline Words set1_word(int32_t x) { return _mm256_set1_epi32(x); }
// Pairs of signed bytes.
inline Words widen_bytes(const std::byte* p) {
  return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
// Pairs of the low (0) or high (1) halves of bytes, minus 8.
template <int kHalf>
inline Words widen_nibbles(const std::byte* p) {
  const __m256i bytes = _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  const __m256i codes = kHalf == 1 ? _mm256_srli_epi16(bytes, 4) : _mm256_and_si256(bytes, _mm256_set1_epi16(15));
  return _mm256_sub_epi16(codes, _mm256_set1_epi16(8));
}
inline Words load_words(const std::byte* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
template <int kBits>
inline Words shift_words_left(Words x) {
  return _mm256_slli_epi16(x, kBits);
}
template <int kBits>
inline Words shift_words_right(Words x) {
  return _mm256_srli_epi16(x, kBits);
}
// The same halves, with bit 4 from bit 4 of `bits`, minus 16.
template <int kHalf>
inline Words widen_five_bits(const std::byte* p, Words bits) {
  const __m256i bytes = _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  const __m256i low = kHalf == 1 ? _mm256_srli_epi16(bytes, 4) : _mm256_and_si256(bytes, _mm256_set1_epi16(15));
  const __m256i codes = _mm256_or_si256(low, _mm256_and_si256(bits, _mm256_set1_epi16(16)));
  return _mm256_sub_epi16(codes, _mm256_set1_epi16(16));
}
// The pairs (even[i], odd[i]) of 2 * kLanes numbers.
inline void interleave(const uint16_t* even, const uint16_t* odd, Words& first, Words& second) {
  const __m256i a = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(even));
  const __m256i b = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(odd));
  const __m256i low = _mm256_unpacklo_epi16(a, b);
  const __m256i high = _mm256_unpackhi_epi16(a, b);
  first = _mm256_permute2x128_si256(low, high, 0x20);
  second = _mm256_permute2x128_si256(low, high, 0x31);
}
// sum plus both products of each pair.
inline Words dot2(Words sum, Words a, Words b) { return _mm256_add_epi32(sum, _mm256_madd_epi16(a, b)); }
inline Vec to_floats(Words x) { return _mm256_cvtepi32_ps(x); }
// Rounds to nearest even; values beyond 16 bits become the nearest 16-bit integer, NaN becomes the smallest.
inline void store_i16(void* p, Vec x) {
  const __m256i words = _mm256_cvtps_epi32(x);
  const __m128i halves = _mm_packs_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
  _mm_storeu_si128(static_cast<__m128i*>(p), halves);
}

}  // namespace
}  // namespace quire
