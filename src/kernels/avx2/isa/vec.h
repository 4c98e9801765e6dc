// The vector vocabulary of kernels/vector/ for AVX2 with FMA and F16C: eight floats.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace quire {
namespace {

using Vec = __m256;
using Mask = __m256;
constexpr int kLanes = 8;
#ifdef QUIRE_SMALL_TILES
constexpr int kRowTile = 3;
#else
constexpr int kRowTile = 6;  // rows; with two vectors of sums each they take 12 of 16 registers
#endif

inline __m256i lane_numbers() { return _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7); }
inline __m256i first_lanes(int n) { return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), lane_numbers()); }

inline Vec set1(float x) { return _mm256_set1_ps(x); }
inline Vec load(const float* p) { return _mm256_loadu_ps(p); }
inline void store(float* p, Vec x) { _mm256_storeu_ps(p, x); }
// The first n lanes; the others load as zero and are not stored. n in [0, kLanes].
inline Vec load_first(const float* p, int n) { return _mm256_maskload_ps(p, first_lanes(n)); }
inline void store_first(float* p, Vec x, int n) { _mm256_maskstore_ps(p, first_lanes(n), x); }

inline Vec add(Vec a, Vec b) { return _mm256_add_ps(a, b); }
inline Vec sub(Vec a, Vec b) { return _mm256_sub_ps(a, b); }
inline Vec mul(Vec a, Vec b) { return _mm256_mul_ps(a, b); }
inline Vec div(Vec a, Vec b) { return _mm256_div_ps(a, b); }
inline Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }  // a * b + c
// NaN when b is NaN.
inline Vec max(Vec a, Vec b) { return _mm256_max_ps(a, b); }
inline Vec min(Vec a, Vec b) { return _mm256_min_ps(a, b); }
inline Vec abs(Vec x) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x); }
inline Vec round_nearest(Vec x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
// n in [-127, 128]; 2^-127 counts as 0 and 2^128 as infinity.
inline Vec times_power_of_2(Vec x, Vec n) {
  const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
  return _mm256_mul_ps(x, _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23)));
}
inline Mask less(Vec a, Vec b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
inline Vec select(Mask mask, Vec yes, Vec no) { return _mm256_blendv_ps(no, yes, mask); }
inline Vec with_sign_of(Vec magnitude, Vec sign) {
  return _mm256_or_ps(magnitude, _mm256_and_ps(sign, _mm256_set1_ps(-0.0f)));
}
// x in lanes [first, last), `other` elsewhere; any first and last.
inline Vec keep_lanes(Vec x, int first, int last, Vec other) {
  const __m256i before = _mm256_cmpgt_epi32(_mm256_set1_epi32(first), lane_numbers());
  return _mm256_blendv_ps(other, x, _mm256_castsi256_ps(_mm256_andnot_si256(before, first_lanes(last))));
}
// Sums the lanes in a fixed tree: halves, quarters, neighbours.
inline float sum_lanes(Vec x) {
  __m128 sum = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
  return _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)));
}
inline float max_lanes(Vec x) {
  __m128 best = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  best = _mm_max_ps(best, _mm_movehl_ps(best, best));
  return _mm_cvtss_f32(_mm_max_ss(best, _mm_movehdup_ps(best)));
}

// Lanes i and i ^ kDistance exchanged; kDistance is 1, 2 or 4.
template <int kDistance>
inline Vec exchange_lanes(Vec x) {
  if constexpr (kDistance == 4) return _mm256_permute2f128_ps(x, x, 1);
  return _mm256_permute_ps(x, kDistance == 1 ? 0xb1 : 0x4e);
}

// Pairs (2i, 2i + 1): values swapped; kLanes / 2 floats each twice; a * b - c in even and a * b + c in odd lanes.
inline Vec swap_pairs(Vec x) { return _mm256_permute_ps(x, 0xb1); }
inline Vec load_twice(const float* p) {
  const __m256i index = _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3);
  return _mm256_permutevar8x32_ps(_mm256_castps128_ps256(_mm_loadu_ps(p)), index);
}
inline Vec fma_sub_add(Vec a, Vec b, Vec c) { return _mm256_fmaddsub_ps(a, b, c); }

inline __m128i load_halves(const uint16_t* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }
inline Vec load_f16(const uint16_t* p) { return _mm256_cvtph_ps(load_halves(p)); }
inline Vec load_bf16(const uint16_t* p) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(load_halves(p)), 16));
}
// Read as f16, a code lacks the top bit of the exponent, which the extension of the sign fills; the value is then 2^8
// too small. The code whose bits after the sign are all ones is NaN; it becomes the f16 of all ones.
inline Vec load_e4m3(const uint8_t* p) {
  const __m128i codes = _mm_cvtepi8_epi16(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  const __m128i half = _mm_and_si128(_mm_slli_epi16(codes, 7), _mm_set1_epi16(static_cast<short>(0xbfff)));
  const __m128i ones = _mm_set1_epi16(-1);
  const __m128i nan = _mm_cmpeq_epi16(_mm_or_si128(codes, _mm_set1_epi16(static_cast<short>(0xff80))), ones);
  return _mm256_mul_ps(_mm256_cvtph_ps(_mm_or_si128(half, nan)), _mm256_set1_ps(256.0f));
}

// Round to nearest even; a NaN stays a quiet NaN.
inline void store_f16(uint16_t* p, Vec x) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
inline void store_bf16(uint16_t* p, Vec x) {
  const __m256i bits = _mm256_castps_si256(x);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
  const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
  const __m256i result = _mm256_srli_epi32(_mm256_blendv_epi8(rounded, quiet, nan), 16);
  const __m128i packed = _mm_packus_epi32(_mm256_castsi256_si128(result), _mm256_extracti128_si256(result, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), packed);
}

// Uses inline assembly because GCC 12 treats a function that only prefetches as one without effect and drops its calls.
inline void prefetch(const void* p) { __asm__ volatile("prefetcht0 %0" : : "m"(*static_cast<const char*>(p))); }
// Prefetches into the second-level cache only, which can wait for more lines at a time than the first-level cache.
inline void prefetch_far(const void* p) { __asm__ volatile("prefetcht1 %0" : : "m"(*static_cast<const char*>(p))); }

}  // namespace
}  // namespace quire
