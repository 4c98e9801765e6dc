// Quantises a matrix to a format of GGUF files so that the error that its inputs would see is small: the error of each
// column counts as much as the column's input is large (the "imatrix" of llama.cpp). A method of compression: pure
// functions; rows are divided among threads, the bytes do not depend on how many.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "compress/calibration/input_statistics.h"
#include "tensor/format.h"

namespace quire {

struct MatrixRows {
  std::span<const float> values;  // [rows, cols]
  int64_t cols = 0;

  int64_t num_rows() const { return static_cast<int64_t>(values.size()) / cols; }
  std::span<const float> row(int64_t index) const {
    return values.subspan(static_cast<size_t>(index * cols), static_cast<size_t>(cols));
  }
};

// The mean square of each input column, [cols]; all 1 when nothing was seen.
std::vector<float> importance_of(const InputStatistics& statistics);

// The blocks of all rows; cols is a multiple of the format's block. `importance` [cols] >= 0, or empty: all alike.
// Formats without a search (floats) are converted.
std::vector<std::byte> quantize_blocks(Format format, MatrixRows matrix, std::span<const float> importance,
                                       ThreadPool& pool);

// sum importance[c] * (w[r][c] - w'[r][c])^2 for the dequantised blocks w'.
double weighted_error(Format format, MatrixRows matrix, std::span<const float> importance,
                      std::span<const std::byte> blocks, ThreadPool& pool);

}  // namespace quire
