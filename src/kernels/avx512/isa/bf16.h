// The vocabulary of kernels/vector/matmul_bf16 for AVX-512 without instructions for bf16: words of two neighbouring
// columns, the even one in the low half.
#pragma once

#include "isa/bytes.h"

namespace quire {
namespace {

// Rounds to nearest even; a NaN stays a quiet NaN.
inline Bytes round_bf16(Vec x) {
  const __m512i bits = _mm512_castps_si512(x);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
  return _mm512_mask_mov_epi32(rounded, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), _mm512_set1_epi32(0x7fc00000));
}
inline Bytes bf16_pairs(Vec even, Vec odd) {
  return _mm512_mask_blend_epi16(0xaaaaaaaau, _mm512_srli_epi32(round_bf16(even), 16), round_bf16(odd));
}

// Of elements that are bf16 in memory.
inline Bytes bf16_pairs_of(const uint16_t* even, const uint16_t* odd) {
  const __m512i high = _mm512_slli_epi32(_mm512_cvtepu16_epi32(load_halves(odd)), 16);
  return _mm512_or_si512(_mm512_cvtepu16_epi32(load_halves(even)), high);
}

// A sum takes the two products of a pair in two steps: that of the odd column first, as vdpbf16ps does.
constexpr int kBf16Steps = 2;
template <int kStep>
inline Bytes bf16_term(Bytes pairs) {
  if constexpr (kStep == 0) return _mm512_and_si512(pairs, _mm512_set1_epi32(static_cast<int>(0xffff0000u)));
  return _mm512_slli_epi32(pairs, 16);
}
inline Vec add_bf16_terms(Vec sum, Bytes a, Bytes b) { return fma(as_floats(a), as_floats(b), sum); }

}  // namespace
}  // namespace quire
