// Weights as E4M3 floats (tensor/float8.h) below a scale for each block of rows and columns.
#pragma once

#include <cstdint>
#include <vector>

#include "base/thread_pool.h"
#include "compress/float_matrix.h"

namespace quire {

// Rows and columns that share a scale; 0: all of them. The last block of either may be smaller.
struct Float8Blocks {
  int64_t rows = 1;
  int64_t cols = 0;
};
inline constexpr Float8Blocks kFloat8PerTensor = {.rows = 0, .cols = 0};
inline constexpr Float8Blocks kFloat8PerRow = {.rows = 1, .cols = 0};
inline constexpr Float8Blocks kFloat8Blocks128 = {.rows = 128, .cols = 128};

// Element (r, c) is the E4M3 value of its code times the scale of its block.
struct Float8Matrix {
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t block_rows = 1;  // none is 0
  int64_t block_cols = 1;
  std::vector<uint8_t> codes = {};  // [rows, cols]
  std::vector<float> scales = {};   // [ceil(rows / block_rows), num_block_cols]

  int64_t num_block_cols() const { return (cols + block_cols - 1) / block_cols; }
};

// The largest magnitude of a block becomes E4M3's largest.
Float8Matrix round_to_float8(const FloatMatrix& matrix, Float8Blocks blocks, ThreadPool& threads);

}  // namespace quire
