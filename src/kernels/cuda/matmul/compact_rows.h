// The compact form of activation rows on CUDA: the table's `packed` functions produce it and its matmul reads it. A row
// of `cols` floats, with zeros up to columns = compact_columns(cols), becomes bf16 [columns]          the values,
// rounded to nearest even float [columns / 16]    the sum of every 16 rounded values padding to a multiple of 64 bytes,
// of any content [columns / 64] of       64 int8 codes, their float scale, 12 bytes of any content padding as above
// Weights that are multiplied in integers read the codes, all others read bf16 values and sums. Codes and scales follow
// the rule of Kernels::pack_rows, in groups of 64. The sums are multiplied by the minimum of a group of weights (Q4_1,
// Q4_K ...). Their order is part of the form, so that every kernel produces the same bits: neighbours are added in a
// tree, ((0 + 1) + (2 + 3)) + ..., the order that shuffles by 1, 2, 4, 8 also have. Plain functions for host and
// device; any thread.
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
inline constexpr int kInt8Group = 64;
// Sixteen bytes more than the codes, so that the groups of eight rows fall into different banks of shared memory.
inline constexpr int kInt8GroupBytes = 80;
// A group with smaller magnitudes counts as zeros: 127 / max must not overflow.
inline constexpr float kInt8SmallestMax = 0x1p-100f;

// Rounded up to whole groups.
QUIRE_HOST_DEVICE constexpr int64_t compact_columns(int64_t cols) { return (cols + 63) / 64 * 64; }

// The offset of the sums; a multiple of 64.
QUIRE_HOST_DEVICE constexpr int64_t compact_sums_offset(int64_t cols) { return 2 * compact_columns(cols); }

// The offset of the groups of codes; a multiple of 64.
QUIRE_HOST_DEVICE constexpr int64_t compact_int8_offset(int64_t cols) {
  const int64_t sums = compact_columns(cols) / kCompactGroup * static_cast<int64_t>(sizeof(float));
  return (compact_sums_offset(cols) + sums + 63) / 64 * 64;
}

QUIRE_HOST_DEVICE constexpr int64_t compact_row_bytes(int64_t cols) {
  const int64_t groups = compact_columns(cols) / kInt8Group * kInt8GroupBytes;
  return (compact_int8_offset(cols) + groups + 63) / 64 * 64;
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
