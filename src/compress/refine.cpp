#include "compress/refine.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "base/check.h"
#include "compress/clip.h"
#include "compress/row_strip.h"
#include "tensor/half.h"

namespace quire {
namespace {

// Products with damping, rows and columns in the order of the groups.
struct OrderedProducts {
  int64_t cols = 0;
  std::vector<int32_t> order = {};  // [cols] column of the matrix; empty: as they are
  std::vector<float> values = {};   // [cols, cols]

  const float* row(int64_t k) const { return values.data() + k * cols; }
  float own(int64_t k) const { return values[static_cast<size_t>(k * cols + k)]; }
  int64_t column(int64_t k) const { return order.empty() ? k : order[static_cast<size_t>(k)]; }
};

OrderedProducts order_products(const GroupMatrix& matrix, const InputStatistics& input, double damping) {
  OrderedProducts result = {.cols = matrix.cols};
  if (!matrix.groups.empty()) {
    result.order.resize(matrix.groups.size());
    std::iota(result.order.begin(), result.order.end(), 0);
    std::ranges::stable_sort(result.order, {}, [&](int32_t col) { return matrix.groups[static_cast<size_t>(col)]; });
  }
  double mean = 0;
  for (int64_t k = 0; k < matrix.cols; ++k) {
    mean += double{input.products[static_cast<size_t>(k * matrix.cols + k)]} / static_cast<double>(matrix.cols);
  }
  result.values.reserve(input.products.size());
  for (int64_t row = 0; row < matrix.cols; ++row) {
    const float* from = input.products.data() + result.column(row) * matrix.cols;
    for (int64_t col = 0; col < matrix.cols; ++col) {
      result.values.push_back(from[result.column(col)] + (row == col ? static_cast<float>(damping * mean) : 0));
    }
  }
  return result;
}

// Sixteen rows and their errors.
class RefinedStrip {
 public:
  RefinedStrip(const OrderedProducts& products, const FloatMatrix& matrix, int64_t first_row, GroupMatrix& result)
      : products_(products),
        first_row_(first_row),
        num_rows_(std::min(kStripRows, matrix.rows - first_row)),
        group_(result.grid.group_columns(result.cols)),
        result_(result),
        errors_(load_strip(matrix, first_row, products.order)),
        slopes_(static_cast<size_t>(group_ * kStripRows)),
        changes_(slopes_.size()) {
    for (int64_t k = 0; k < result.cols; ++k) {
      for (int64_t lane = 0; lane < num_rows_; ++lane) {
        errors(k)[lane] -= value_of(code(k, lane), scale(k / group_, lane));
      }
    }
  }

  void run_round() {
    for (int64_t group = 0; group < result_.num_groups(); ++group) {
      find_slopes(group * group_);
      fit_scales(group);
      std::ranges::fill(changes_, 0.0f);
      for (int64_t k = group * group_; k < (group + 1) * group_; ++k) fit_codes(group, k);
    }
  }

 private:
  float* errors(int64_t k) { return errors_.data() + k * kStripRows; }
  uint8_t& code(int64_t k, int64_t lane) {
    return result_.codes[static_cast<size_t>((first_row_ + lane) * result_.cols + products_.column(k))];
  }
  size_t scale_index(int64_t group, int64_t lane) const {
    return static_cast<size_t>((first_row_ + lane) * result_.num_groups() + group);
  }
  ScaleZero scale(int64_t group, int64_t lane) const {
    const size_t at = scale_index(group, lane);
    return {result_.scales[at], result_.zeros[at]};
  }

  // Half the derivative of the output error by the values of a group.
  void find_slopes(int64_t first) {
    const int64_t n = products_.cols;
    WeightedSums<float>{products_.row(first), n, errors_.data(), kStripRows, n}.compute(group_, slopes_.data());
  }

  // The best scale for the codes as they are, if its f16 is better than the present one.
  void fit_scales(int64_t group) {
    const int64_t first = group * group_;
    std::vector<float> levels(slopes_.size());
    float along[kStripRows] = {};    // slopes . levels
    float squares[kStripRows] = {};  // levels^T products levels
    for (int64_t i = 0; i < group_; ++i) {
      for (int64_t lane = 0; lane < num_rows_; ++lane) {
        const float level =
            static_cast<float>(int{code(first + i, lane)} - int{result_.zeros[scale_index(group, lane)]});
        levels[static_cast<size_t>(i * kStripRows + lane)] = level;
        along[lane] += level * slopes_[static_cast<size_t>(i * kStripRows + lane)];
      }
    }
    std::vector<float> curves(slopes_.size());  // products levels
    const float* own_block = products_.row(first) + first;
    WeightedSums<float>{own_block, products_.cols, levels.data(), kStripRows, group_}.compute(group_, curves.data());
    for (size_t i = 0; i < curves.size(); ++i) squares[i % kStripRows] += curves[i] * levels[i];
    float steps[kStripRows] = {};
    for (int64_t lane = 0; lane < num_rows_; ++lane) {
      if (!(squares[lane] > 0)) continue;
      float& now = result_.scales[scale_index(group, lane)];
      const float wanted = std::clamp(now + along[lane] / squares[lane], 0.0f, 65504.0f);
      const float step = f16_to_f32(f32_to_f16(wanted)) - now;
      // The error changes by step^2 squares - 2 step along.
      if (!(now + step > 0) || !(step * (step * squares[lane] - 2 * along[lane]) < 0)) continue;
      now += step;
      steps[lane] = step;
    }
    for (int64_t i = 0; i < group_; ++i) {
      for (int64_t lane = 0; lane < kStripRows; ++lane) {
        const auto at = static_cast<size_t>(i * kStripRows + lane);
        errors(first + i)[lane] -= steps[lane] * levels[at];
        slopes_[at] -= steps[lane] * curves[at];
      }
    }
  }

  // Column k gets the codes nearest to what makes the slopes zero.
  void fit_codes(int64_t group, int64_t k) {
    const int64_t first = group * group_;
    float sums[kStripRows];
    WeightedSums<float>{products_.row(k) + first, products_.cols, changes_.data(), kStripRows, group_}.compute(1, sums);
    const float own = products_.own(k);
    if (!(own > 0)) return;
    for (int64_t lane = 0; lane < num_rows_; ++lane) {
      const auto at = static_cast<size_t>((k - first) * kStripRows + lane);
      const float slope = slopes_[at] + sums[lane];
      uint8_t& now = code(k, lane);
      const ScaleZero chosen = scale(group, lane);
      const float value = value_of(now, chosen);
      const uint8_t better = code_of(value + slope / own, chosen, result_.grid);
      if (better == now) continue;
      const float change = value - value_of(better, chosen);
      errors(k)[lane] += change;
      changes_[at] += change;
      now = better;
    }
  }

  const OrderedProducts& products_;
  int64_t first_row_;
  int64_t num_rows_;
  int64_t group_;
  GroupMatrix& result_;
  std::vector<float> errors_;   // [cols][16] weight - value
  std::vector<float> slopes_;   // [group][16] products * errors of the present group, before changes_
  std::vector<float> changes_;  // [group][16] of errors, since
};

}  // namespace

void refine(GroupMatrix& result, const FloatMatrix& matrix, const InputStatistics& input, const RefineOptions& options,
            ThreadPool& threads) {
  CHECK(result.rows == matrix.rows && result.cols == matrix.cols && input.cols == matrix.cols);
  const OrderedProducts products = order_products(result, input, options.damping);
  threads.parallel_for(num_strips(matrix.rows), [&](int64_t strip, int) {
    RefinedStrip rows(products, matrix, strip * kStripRows, result);
    for (int round = 0; round < options.num_rounds; ++round) rows.run_round();
  });
}

}  // namespace quire
