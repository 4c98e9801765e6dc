// The compact form of activation rows on CUDA: what the table's `q8` functions make and its matmul reads. A row of
// `cols` floats, with zeros appended to a multiple of 32, becomes
//   bf16 [cols]             the values, rounded to nearest even
//   float [cols / 16]       for each 16 of them the sum of the rounded values
//   padding to a multiple of 64 bytes, of any content
// The sums multiply what a group of weights has in common (the minimums of Q4_1, Q4_K ...). Their order is part of the
// form, so that every kernel makes the same bits: neighbours are added in a tree, ((0 + 1) + (2 + 3)) + ..., which is
// also what shuffles by 1, 2, 4, 8 give.
// Plain functions for host and device; any thread.
#pragma once

#include <cstddef>
#include <cstdint>

#ifdef __CUDACC__
#define QUIRE_HOST_DEVICE __host__ __device__
#else
#define QUIRE_HOST_DEVICE
#endif

namespace quire {

inline constexpr int kCompactGroup = 16;

// With the zeros.
QUIRE_HOST_DEVICE constexpr int64_t compact_cols(int64_t cols) { return (cols + 31) / 32 * 32; }

// Where the sums begin; a multiple of 64.
QUIRE_HOST_DEVICE constexpr int64_t compact_sums_offset(int64_t cols) { return 2 * compact_cols(cols); }

QUIRE_HOST_DEVICE constexpr int64_t compact_row_bytes(int64_t cols) {
  const auto sum_bytes = compact_cols(cols) / kCompactGroup * static_cast<int64_t>(sizeof(float));
  return (compact_sums_offset(cols) + sum_bytes + 63) / 64 * 64;
}

// The sum of 2^n neighbouring rounded values, in the order above.
template <int kCount>
QUIRE_HOST_DEVICE inline float compact_sum(const float* rounded) {
  if constexpr (kCount == 1) {
    return rounded[0];
  } else {
    return compact_sum<kCount / 2>(rounded) + compact_sum<kCount / 2>(rounded + kCount / 2);
  }
}

}  // namespace quire
