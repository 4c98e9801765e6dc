// The vocabulary of kernels/vector/matmul_bf16 for AVX512_BF16 (Zen 4, Cooper Lake): words of two neighbouring columns,
// the even one in the low half. Unlike other tables, these instructions take denormals for zeros.
#pragma once

#include "isa/bytes.h"

namespace quire {
namespace {

inline Bytes bf16_pairs(Vec even, Vec odd) {
  // The instruction leaves the even columns in the lower half of the register and the odd ones in the upper half.
  alignas(64) static constexpr uint16_t kPairs[] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                                    8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  const auto halves = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(odd, even));
  return _mm512_permutexvar_epi16(_mm512_load_si512(kPairs), halves);
}

// Of elements that are bf16 in memory.
inline Bytes bf16_pairs_of(const uint16_t* even, const uint16_t* odd) {
  const __m512i high = _mm512_slli_epi32(_mm512_cvtepu16_epi32(load_halves(odd)), 16);
  return _mm512_or_si512(_mm512_cvtepu16_epi32(load_halves(even)), high);
}

constexpr int kBf16Steps = 1;
template <int kStep>
inline Bytes bf16_term(Bytes pairs) {
  return pairs;
}
// Uses inline assembly because GCC 12 copies the sum around the intrinsic in every round of a loop.
inline Vec add_bf16_terms(Vec sum, Bytes a, Bytes b) {
  __asm__("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
  return sum;
}

}  // namespace
}  // namespace quire
