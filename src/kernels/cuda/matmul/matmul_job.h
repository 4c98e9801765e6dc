// The parameters of a matmul kernel: one launch multiplies several matrices of one format with the same input. Passed
// by value; the pointers are device memory.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernels.h"

namespace quire {

inline constexpr int kMaxMatmulParts = 8;

struct MatmulPart {
  const std::byte* weights = nullptr;     // packed; null with experts
  const PackedMatrix* experts = nullptr;  // [num_experts] packed, of the same shape; or null
  const float* bias = nullptr;            // [rows] or none
  float* y = nullptr;                     // [num_rows, y_stride]
  int64_t y_stride = 0;
  int64_t rows = 0;
  int64_t first_block = 0;  // its first block of rows in the grid
  bool accumulate = false;
};

struct MatmulJob {
  const std::byte* x = nullptr;  // compact rows [num_rows, compact_row_bytes(cols)], or floats [num_rows, cols]
  int64_t num_rows = 0;
  int64_t cols = 0;
  const int32_t* first = nullptr;  // [num_experts + 1] rows of each expert, or none
  int num_experts = 0;
  int num_parts = 0;
  MatmulPart parts[kMaxMatmulParts];
};

}  // namespace quire
