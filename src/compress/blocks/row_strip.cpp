#include "compress/blocks/row_strip.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace quire {
namespace {

// What every processor of this architecture computes at once. The compiler's own type, so that sums stay in registers.
template <typename T>
using Vector __attribute__((vector_size(16))) = T;

constexpr int kVectors = 4;  // 16 bytes each: kLanes

template <typename T>
Vector<T> load(const T* from) {
  Vector<T> value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

template <typename T, int kWeights>
void add_up(const WeightedSums<T>& of, int64_t first, T* sums) {
  const T* weights = of.weights + first * of.weights_stride;
  Vector<T> total[kWeights][kVectors] = {};
  for (int64_t i = 0; i < of.n; ++i) {
    const T* row = of.rows + i * of.rows_stride;
    Vector<T> values[kVectors];
    for (int v = 0; v < kVectors; ++v) values[v] = load(row + v * kLanes<T> / kVectors);
    for (int w = 0; w < kWeights; ++w) {
      for (int v = 0; v < kVectors; ++v) total[w][v] += weights[w * of.weights_stride + i] * values[v];
    }
  }
  std::memcpy(sums, total, sizeof total);
}

}  // namespace

std::vector<float> load_strip(const FloatMatrix& matrix, int64_t first_row, std::span<const int32_t> order) {
  std::vector<float> strip(static_cast<size_t>(matrix.cols * kStripRows));
  const int64_t count = std::min(kStripRows, matrix.rows - first_row);
  for (int64_t lane = 0; lane < count; ++lane) {
    const std::span<const float> row = matrix.row(first_row + lane);
    for (size_t i = 0; i < row.size(); ++i) {
      strip[i * kStripRows + static_cast<size_t>(lane)] = row[order.empty() ? i : static_cast<size_t>(order[i])];
    }
  }
  return strip;
}

template <typename T>
void WeightedSums<T>::compute(int64_t count, T* sums) const {
  // Two at a time read each row once.
  int64_t w = 0;
  for (; w + 1 < count; w += 2) add_up<T, 2>(*this, w, sums + w * kLanes<T>);
  if (w < count) add_up<T, 1>(*this, w, sums + w * kLanes<T>);
}

template struct WeightedSums<float>;
template struct WeightedSums<double>;

void quadratic_forms(std::span<const float> strip, std::span<const float> products, float (&forms)[kStripRows]) {
  const auto cols = static_cast<int64_t>(strip.size()) / kStripRows;
  CHECK(products.size() == static_cast<size_t>(cols * cols));
  std::ranges::fill(forms, 0.0f);
  for (int64_t i = 0; i < cols; i += 2) {
    const int64_t count = std::min<int64_t>(2, cols - i);
    float below[2][kStripRows];  // sums over the columns before i
    WeightedSums<float>{products.data() + i * cols, cols, strip.data(), kStripRows, i}.compute(count, below[0]);
    for (int64_t k = i; k < i + count; ++k) {
      const float* row = strip.data() + k * kStripRows;
      const float* weights = products.data() + k * cols;
      // Each pair of columns stands twice in the form.
      for (int64_t lane = 0; lane < kStripRows; ++lane) {
        float before = below[k - i][lane];
        if (k > i) before += weights[i] * strip[static_cast<size_t>(i * kStripRows + lane)];
        forms[lane] += row[lane] * (2 * before + weights[k] * row[lane]);
      }
    }
  }
}

}  // namespace quire
