// The vocabulary of kernels/vector/matmul_bf16 for AVX2: words of two neighbouring columns, the even one in the low
// half.
#pragma once

#include "isa/bytes.h"

namespace quire {
namespace {

// Rounds to nearest even; a NaN stays a quiet NaN.
inline Bytes round_bf16(Vec x) {
  const __m256i bits = _mm256_castps_si256(x);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
  return _mm256_blendv_epi8(rounded, _mm256_set1_epi32(0x7fc00000), nan);
}
inline Bytes bf16_pairs(Vec even, Vec odd) {
  return _mm256_blend_epi16(_mm256_srli_epi32(round_bf16(even), 16), round_bf16(odd), 0xaa);
}

// Of elements that are bf16 in memory.
inline Bytes bf16_pairs_of(const uint16_t* even, const uint16_t* odd) {
  const __m256i high = _mm256_slli_epi32(_mm256_cvtepu16_epi32(load_halves(odd)), 16);
  return _mm256_or_si256(_mm256_cvtepu16_epi32(load_halves(even)), high);
}

// A sum takes the two products of a pair in two steps: that of the odd column first, as vdpbf16ps does.
constexpr int kBf16Steps = 2;
template <int kStep>
inline Bytes bf16_term(Bytes pairs) {
  if constexpr (kStep == 0) return _mm256_and_si256(pairs, _mm256_set1_epi32(static_cast<int>(0xffff0000u)));
  return _mm256_slli_epi32(pairs, 16);
}
inline Vec add_bf16_terms(Vec sum, Bytes a, Bytes b) { return fma(as_floats(a), as_floats(b), sum); }

}  // namespace
}  // namespace quire
