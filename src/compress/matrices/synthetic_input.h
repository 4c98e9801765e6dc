// Inputs and weights for tests of the methods: columns of different size that depend on each other, as those of a
// model.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/random.h"
#include "compress/calibration/input_statistics.h"
#include "compress/matrices/float_matrix.h"
#include "compress/matrices/group_matrix.h"

namespace quire::testing {

// About normal, of variance 1.
inline std::vector<float> random_floats(int64_t count, uint64_t seed) {
  std::vector<float> values(static_cast<size_t>(count));
  for (size_t i = 0; i < values.size(); ++i) {
    double sum = -2;
    for (uint64_t j = 0; j < 4; ++j) sum += uniform(seed, 4 * i + j);
    values[i] = static_cast<float>(sum * std::sqrt(3.0));
  }
  return values;
}

// All statistics of num_rows rows, every one kept as a sample.
inline InputStatistics correlated_input(int64_t cols, int64_t num_rows, uint64_t seed) {
  InputStatistics input = {.cols = cols, .num_rows = num_rows};
  const std::vector<float> noise = random_floats(num_rows * cols, seed);
  input.sample.resize(noise.size());
  for (int64_t row = 0; row < num_rows; ++row) {
    float shared = 0;
    for (int64_t col = 0; col < cols; ++col) {
      const auto i = static_cast<size_t>(row * cols + col);
      shared = 0.8f * shared + 0.6f * noise[i];
      const float size = col % 7 == 3 ? 6.0f : 1.0f + 0.1f * static_cast<float>(col % 5);
      input.sample[i] = size * shared;
    }
  }
  input.square_sums.resize(static_cast<size_t>(cols));
  input.largest.resize(static_cast<size_t>(cols));
  input.products.resize(static_cast<size_t>(cols * cols));
  for (int64_t row = 0; row < num_rows; ++row) {
    const float* x = input.sample.data() + row * cols;
    for (int64_t i = 0; i < cols; ++i) {
      input.square_sums[static_cast<size_t>(i)] += x[i] * x[i];
      input.largest[static_cast<size_t>(i)] = std::max(input.largest[static_cast<size_t>(i)], std::abs(x[i]));
      for (int64_t j = 0; j < cols; ++j) input.products[static_cast<size_t>(i * cols + j)] += x[i] * x[j];
    }
  }
  return input;
}

inline std::vector<float> values_of(const GroupMatrix& matrix) {
  std::vector<float> values(matrix.codes.size());
  dequantize(matrix, values);
  return values;
}

}  // namespace quire::testing
