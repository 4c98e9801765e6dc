#include "compress/row_strip.h"

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

template <typename T, int kWeights>
void WeightedRows<T, kWeights>::sum(T (&sums)[kWeights][kLanes<T>]) const {
  Vector<T> total[kWeights][kVectors] = {};
  for (int64_t i = 0; i < n; ++i) {
    const T* row = rows + i * stride;
    Vector<T> values[kVectors];
    for (int v = 0; v < kVectors; ++v) values[v] = load(row + v * kLanes<T> / kVectors);
    for (int w = 0; w < kWeights; ++w) {
      for (int v = 0; v < kVectors; ++v) total[w][v] += weights[w][i] * values[v];
    }
  }
  std::memcpy(sums, total, sizeof sums);
}

template struct WeightedRows<float, 1>;
template struct WeightedRows<float, 2>;
template struct WeightedRows<double, 1>;
template struct WeightedRows<double, 2>;

void quadratic_forms(std::span<const float> strip, std::span<const float> products, float (&forms)[kStripRows]) {
  const auto cols = static_cast<int64_t>(strip.size()) / kStripRows;
  CHECK(products.size() == static_cast<size_t>(cols * cols));
  std::ranges::fill(forms, 0.0f);
  // Each pair of columns stands twice in the form.
  const auto add = [&](int64_t i, const float(&below)[kStripRows]) {
    const float* row = strip.data() + i * kStripRows;
    const float own = products[static_cast<size_t>(i * cols + i)];
    for (int lane = 0; lane < kStripRows; ++lane) forms[lane] += row[lane] * (2 * below[lane] + own * row[lane]);
  };
  for (int64_t i = 0; i < cols; i += 2) {
    const float* first = products.data() + i * cols;
    if (i + 1 == cols) {
      float below[1][kStripRows];
      WeightedRows<float, 1>{{first}, strip.data(), kStripRows, i}.sum(below);
      add(i, below[0]);
      break;
    }
    float below[2][kStripRows];
    WeightedRows<float, 2>{{first, first + cols}, strip.data(), kStripRows, i}.sum(below);
    add(i, below[0]);
    const float between = first[cols + i];
    for (int lane = 0; lane < kStripRows; ++lane)
      below[1][lane] += between * strip[static_cast<size_t>(i * kStripRows + lane)];
    add(i + 1, below[1]);
  }
}

}  // namespace quire
