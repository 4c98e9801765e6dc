// What calibration has seen of the rows that a matrix multiplies: all that a method of compression knows of a model's
// use. Sums are over all rows in the order of the text, so they do not depend on threads. Plain data.
#pragma once

#include <cstdint>
#include <vector>

namespace quire {

struct InputStatistics {
  int64_t cols = 0;      // columns of the matrix: the width of its input
  int64_t num_rows = 0;  // seen
  // Of every column.
  std::vector<float> square_sums = {};  // [cols] sum of x^2
  std::vector<float> largest = {};      // [cols] largest |x|
  // What only some methods ask for; empty otherwise.
  std::vector<float> products = {};  // [cols, cols] sum of x x^T, both halves (GPTQ, SparseGPT)
  std::vector<float> sample = {};    // [num_sample_rows, cols] rows spread over the text (the searches of AWQ)

  int64_t num_sample_rows() const { return cols == 0 ? 0 : static_cast<int64_t>(sample.size()) / cols; }
};

// What a method wants to be told, beside the sums of every column.
struct StatisticsWanted {
  bool products = false;
  int64_t sample_rows = 0;
};

}  // namespace quire
