// A matrix in E4M3 codes with a scale for each block of rows and columns, before a layout of files packs it. Plain
// data.
#pragma once

#include <cstdint>
#include <vector>

namespace quire {

// Element (r, c) is scale of its block * E4M3 code.
struct Float8Matrix {
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t block_rows = 0;      // 0: all rows share a scale
  int64_t block_cols = 0;      // 0: all columns
  std::vector<uint8_t> codes;  // [rows, cols]
  std::vector<float> scales;   // [row blocks, column blocks]; the last of each may be smaller

  int64_t num_row_blocks() const { return block_rows == 0 ? 1 : (rows + block_rows - 1) / block_rows; }
  int64_t num_col_blocks() const { return block_cols == 0 ? 1 : (cols + block_cols - 1) / block_cols; }
};

}  // namespace quire
