// The kernels that dense_matmul.h needs besides the products of the library. All pointers are device memory.
#pragma once

#include "kernels/cuda/device/gpu.h"

namespace quire {

// Rounds `count` compact rows x (compact_rows.h) to E4M3: codes [padded, cols] and scales [cols / 128, padded]; the
// rows from `count` to `padded` become zeros. cols is a multiple of 128.
struct QuantizedRows {
  const std::byte* x = nullptr;
  int64_t cols = 0;
  int64_t count = 0;
  int64_t padded = 0;
  std::byte* codes = nullptr;
  float* scales = nullptr;
};
void quantize_e4m3(const QuantizedRows& rows, Stream stream);

// y[t][o] = value, or y[t][o] + value to accumulate; value = from[t][o] + bias[o], or bias[o] without `from`.
struct FinishedRows {
  const float* from = nullptr;  // [num_rows, rows]
  const float* bias = nullptr;  // [rows] or none
  float* y = nullptr;           // [num_rows, y_stride]
  int64_t y_stride = 0;
  int64_t rows = 0;
  int64_t num_rows = 0;
  bool accumulate = false;
};
void finish_rows(const FinishedRows& rows, Stream stream);

// Kernels::embed_rows of a dense matrix.
void embed_dense_rows(const Exec& exec, const PackedMatrix& matrix, const EmbeddedTokens& tokens, int64_t num_rows,
                      float scale, float* out);

}  // namespace quire
