#include "compress/methods/awq.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "base/check.h"
#include "compress/blocks/row_strip.h"
#include "compress/methods/clip.h"
#include "compress/methods/rtn.h"

namespace quire {
namespace {

constexpr int kPowers = 20;

// Sum of x x^T [cols, cols]: of all rows seen where calibration kept it, otherwise of the sample.
class Products {
 public:
  Products(const InputStatistics& input, ThreadPool& threads) : cols_(input.cols), all_(input.products) {
    if (!all_.empty()) return;
    CHECK(input.num_sample_rows() > 0);
    own_.resize(static_cast<size_t>(cols_ * cols_));
    threads.parallel_for(cols_, [&](int64_t row, int) {
      float* out = own_.data() + row * cols_;
      for (int64_t s = 0; s < input.num_sample_rows(); ++s) {
        const float* x = input.sample.data() + s * cols_;
        for (int64_t col = 0; col < cols_; ++col) out[col] += x[row] * x[col];
      }
    });
    all_ = own_;
  }
  Products(const Products&) = delete;
  Products& operator=(const Products&) = delete;

  std::span<const float> all() const { return all_; }
  float at(int64_t row, int64_t col) const { return all_[static_cast<size_t>(row * cols_ + col)]; }
  // [count, count] of the columns from `first` on.
  std::vector<float> part(int64_t first, int64_t count) const {
    std::vector<float> values;
    for (int64_t row = first; row < first + count; ++row) {
      for (int64_t col = first; col < first + count; ++col) values.push_back(at(row, col));
    }
    return values;
  }

 private:
  int64_t cols_;
  std::span<const float> all_;
  std::vector<float> own_;
};

// Logarithms of the channels' root mean squares, their mean subtracted; 0 for channels without input.
std::vector<double> log_sizes(const Products& products, int64_t cols, const Folding& folding) {
  std::vector<double> squares(static_cast<size_t>(folding.num_channels));
  for (int64_t col = 0; col < cols; ++col) {
    squares[static_cast<size_t>(folding.channel_of(col))] += double{products.at(col, col)};
  }
  double sum = 0;
  int count = 0;
  for (const double square : squares) {
    if (!(square > 0)) continue;
    sum += std::log(square) / 2;
    ++count;
  }
  std::vector<double> sizes;
  constexpr double kFurthest = 9;  // so that a weight times its factor stays within f16's range
  for (const double square : squares) {
    sizes.push_back(square > 0 ? std::clamp(std::log(square) / 2 - sum / count, -kFurthest, kFurthest) : 0);
  }
  return sizes;
}

// The strip's errors, when its columns are multiplied by factors, rounded and divided again.
std::vector<float> rounding_errors(const FloatMatrix& matrix, int64_t first_row, std::span<const float> factors,
                                   const GroupGrid& grid) {
  const auto group = static_cast<size_t>(grid.group_columns(matrix.cols));
  std::vector<float> errors(static_cast<size_t>(matrix.cols * kStripRows));
  std::vector<float> scaled(factors.size());
  const int64_t last_row = std::min(first_row + kStripRows, matrix.rows);
  for (int64_t row = first_row; row < last_row; ++row) {
    const std::span<const float> weights = matrix.row(row);
    for (size_t i = 0; i < weights.size(); ++i) scaled[i] = weights[i] * factors[i];
    float* error = errors.data() + (row - first_row);
    for (size_t first = 0; first < scaled.size(); first += group) {
      const ScaleZero scale = scale_of_range(std::span(scaled).subspan(first, group), grid);
      for (size_t i = first; i < first + group; ++i, error += kStripRows) {
        *error = (scaled[i] - value_of(code_of(scaled[i], scale, grid), scale)) / factors[i];
      }
    }
  }
  return errors;
}

}  // namespace

std::vector<float> search_channel_factors(std::span<const FloatMatrix> matrices, const InputStatistics& input,
                                          const Folding& folding, const GroupGrid& grid, ThreadPool& threads) {
  const Products products(input, threads);
  const std::vector<double> sizes = log_sizes(products, input.cols, folding);
  std::vector<std::vector<float>> factors;         // of channels
  std::vector<std::vector<float>> column_factors;  // both for each power
  for (int power = 0; power < kPowers; ++power) {
    std::vector<float>& of_channels = factors.emplace_back();
    for (const double size : sizes) of_channels.push_back(static_cast<float>(std::exp(size * power / kPowers)));
    column_factors.push_back(factors_of_columns(folding, of_channels, input.cols));
  }
  std::array<double, kPowers> total = {};
  for (const FloatMatrix& matrix : matrices) {
    CHECK(matrix.cols == input.cols);
    std::vector<std::array<double, kPowers>> errors(static_cast<size_t>(num_strips(matrix.rows)));
    threads.parallel_for(num_strips(matrix.rows), [&](int64_t strip, int) {
      for (size_t power = 0; power < kPowers; ++power) {
        float forms[kStripRows];
        quadratic_forms(rounding_errors(matrix, strip * kStripRows, column_factors[power], grid), products.all(),
                        forms);
        errors[static_cast<size_t>(strip)][power] = std::accumulate(forms, forms + kStripRows, 0.0);
      }
    });
    for (const auto& of_strip : errors) {
      for (size_t power = 0; power < kPowers; ++power) total[power] += of_strip[power];
    }
  }
  return factors[static_cast<size_t>(std::ranges::min_element(total) - total.begin())];
}

GroupMatrix round_with_clips(const FloatMatrix& matrix, const InputStatistics& input, const GroupGrid& grid,
                             ThreadPool& threads) {
  const Products products(input, threads);
  const int64_t columns = grid.group_columns(matrix.cols);
  std::vector<std::vector<float>> parts;
  for (int64_t group = 0; group < grid.num_groups(matrix.cols); ++group) {
    parts.push_back(products.part(group * columns, columns));
  }
  return round_groups(matrix, grid, threads, [&](std::span<const float> x, int64_t group) {
    return search_clip_by_products(x, parts[static_cast<size_t>(group)], grid);
  });
}

}  // namespace quire
