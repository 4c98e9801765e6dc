// Sixteen rows of a matrix side by side, [cols][16]: loops over columns whose steps depend on each other then compute
// sixteen rows at a time. The sums of a row do not depend on its neighbours.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "compress/matrices/float_matrix.h"

namespace quire {

// As many elements of T as the sums below compute side by side: 16 floats, 8 doubles.
template <typename T>
inline constexpr int kLanes = static_cast<int>(64 / sizeof(T));

inline constexpr int64_t kStripRows = kLanes<float>;
inline int64_t num_strips(int64_t rows) { return (rows + kStripRows - 1) / kStripRows; }

// The strip that begins at row first_row, columns in the order `order` (empty: as they are). Rows beyond the matrix are
// zero.
std::vector<float> load_strip(const FloatMatrix& matrix, int64_t first_row, std::span<const int32_t> order);

// Sums of rows of kLanes<T> elements, all of the same rows with different weights. T: float, double.
template <typename T>
struct WeightedSums {
  const T* weights;  // [any, n], those of sum w from w * weights_stride on
  int64_t weights_stride;
  const T* rows;  // [n, kLanes<T>], row i from i * rows_stride on
  int64_t rows_stride;
  int64_t n;

  // sums [count, kLanes<T>], each in the order of the rows.
  void compute(int64_t count, T* sums) const;
};

// For each row e of a strip: e^T products e. products [cols, cols] is symmetric.
void quadratic_forms(std::span<const float> strip, std::span<const float> products, float (&forms)[kStripRows]);

}  // namespace quire
