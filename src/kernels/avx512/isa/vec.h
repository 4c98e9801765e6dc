// The vector vocabulary of kernels/vector/ for AVX-512: sixteen floats.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace quire {
namespace {

using Vec = __m512;
using Mask = __mmask16;
constexpr int kLanes = 16;
#ifdef QUIRE_SMALL_TILES
constexpr int kRowTile = 4;
#else
constexpr int kRowTile = 12;  // rows; with two vectors of sums each they take 24 of 32 registers
#endif

inline __mmask16 first_lanes(int n) { return static_cast<__mmask16>((1u << n) - 1u); }

inline Vec set1(float x) { return _mm512_set1_ps(x); }
inline Vec load(const float* p) { return _mm512_loadu_ps(p); }
inline void store(float* p, Vec x) { _mm512_storeu_ps(p, x); }
// The first n lanes; the others load as zero and are not stored. n in [0, kLanes].
inline Vec load_first(const float* p, int n) { return _mm512_maskz_loadu_ps(first_lanes(n), p); }
inline void store_first(float* p, Vec x, int n) { _mm512_mask_storeu_ps(p, first_lanes(n), x); }

inline Vec add(Vec a, Vec b) { return _mm512_add_ps(a, b); }
inline Vec sub(Vec a, Vec b) { return _mm512_sub_ps(a, b); }
inline Vec mul(Vec a, Vec b) { return _mm512_mul_ps(a, b); }
inline Vec div(Vec a, Vec b) { return _mm512_div_ps(a, b); }
inline Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }  // a * b + c
// NaN when b is NaN.
inline Vec max(Vec a, Vec b) { return _mm512_max_ps(a, b); }
inline Vec min(Vec a, Vec b) { return _mm512_min_ps(a, b); }
inline Vec abs(Vec x) { return _mm512_abs_ps(x); }
inline Vec round_nearest(Vec x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline Vec times_power_of_2(Vec x, Vec n) { return _mm512_scalef_ps(x, n); }
inline Mask less(Vec a, Vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
inline Vec select(Mask mask, Vec yes, Vec no) { return _mm512_mask_blend_ps(mask, no, yes); }
inline Vec with_sign_of(Vec magnitude, Vec sign) {
  return _mm512_or_ps(magnitude, _mm512_and_ps(sign, _mm512_set1_ps(-0.0f)));
}
// x in lanes [first, last), `other` elsewhere; any first and last.
inline Vec keep_lanes(Vec x, int first, int last, Vec other) {
  const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __mmask16 from = _mm512_cmpge_epi32_mask(lane, _mm512_set1_epi32(first));
  return _mm512_mask_blend_ps(_mm512_mask_cmplt_epi32_mask(from, lane, _mm512_set1_epi32(last)), other, x);
}
// Sums the lanes in a fixed tree: halves, quarters, eighths, neighbours.
inline float sum_lanes(Vec x) { return _mm512_reduce_add_ps(x); }
inline float max_lanes(Vec x) { return _mm512_reduce_max_ps(x); }

// Lanes i and i ^ kDistance exchanged; kDistance is 1, 2, 4 or 8.
template <int kDistance>
inline Vec exchange_lanes(Vec x) {
  if constexpr (kDistance >= 4) return _mm512_shuffle_f32x4(x, x, kDistance == 4 ? 0xb1 : 0x4e);
  return _mm512_permute_ps(x, kDistance == 1 ? 0xb1 : 0x4e);
}

// Pairs (2i, 2i + 1): values swapped; kLanes / 2 floats each twice; a * b - c in even and a * b + c in odd lanes.
inline Vec swap_pairs(Vec x) { return _mm512_permute_ps(x, 0xb1); }
inline Vec load_twice(const float* p) {
  const __m512i index = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
  return _mm512_permutexvar_ps(index, _mm512_castps256_ps512(_mm256_loadu_ps(p)));
}
inline Vec fma_sub_add(Vec a, Vec b, Vec c) { return _mm512_fmaddsub_ps(a, b, c); }

inline Vec widen_f16(__m256i half) { return _mm512_cvtph_ps(half); }
inline Vec widen_bf16(__m256i half) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16)); }
inline __m256i load_halves(const uint16_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
inline Vec load_f16(const uint16_t* p) { return widen_f16(load_halves(p)); }
inline Vec load_bf16(const uint16_t* p) { return widen_bf16(load_halves(p)); }
inline Vec load_first_f16(const uint16_t* p, int n) { return widen_f16(_mm256_maskz_loadu_epi16(first_lanes(n), p)); }
inline Vec load_first_bf16(const uint16_t* p, int n) { return widen_bf16(_mm256_maskz_loadu_epi16(first_lanes(n), p)); }
// Read as f16, a code lacks the top bit of the exponent, which the extension of the sign fills; the value is then 2^8
// too small. The code whose bits after the sign are all ones is NaN; it becomes the f16 of all ones.
inline Vec load_e4m3(const uint8_t* p) {
  const __m256i codes = _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  const __m256i half = _mm256_and_si256(_mm256_slli_epi16(codes, 7), _mm256_set1_epi16(static_cast<short>(0xbfff)));
  const __m256i ones = _mm256_set1_epi16(-1);
  const __m256i nan = _mm256_cmpeq_epi16(_mm256_or_si256(codes, _mm256_set1_epi16(static_cast<short>(0xff80))), ones);
  return _mm512_mul_ps(widen_f16(_mm256_or_si256(half, nan)), _mm512_set1_ps(256.0f));
}

// Round to nearest even; a NaN stays a quiet NaN.
inline void store_f16(uint16_t* p, Vec x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
inline void store_bf16(uint16_t* p, Vec x) {
  const __m512i bits = _mm512_castps_si512(x);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
  const __m512i quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x400000));
  const __m512i result = _mm512_mask_blend_epi32(_mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), rounded, quiet);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(_mm512_srli_epi32(result, 16)));
}

// Uses inline assembly because GCC 12 treats a function that only prefetches as one without effect and drops its calls.
inline void prefetch(const void* p) { __asm__ volatile("prefetcht0 %0" : : "m"(*static_cast<const char*>(p))); }
// Prefetches into the second-level cache only, which can wait for more lines at a time than the first-level cache.
inline void prefetch_far(const void* p) { __asm__ volatile("prefetcht1 %0" : : "m"(*static_cast<const char*>(p))); }

}  // namespace
}  // namespace quire
