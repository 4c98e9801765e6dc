#include "compress/matrices/linear_algebra.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "base/error.h"
#include "compress/blocks/row_strip.h"

namespace quire {
namespace {

constexpr int kDoubles = kLanes<double>;
constexpr int64_t kBlock = 64;  // columns that are factored before they leave the rest
static_assert(kBlock % kDoubles == 0);

// M = [n, n], upper triangular, row by row: first symmetric, then M M^T = symmetric, block of columns by block, from
// the last. Cholesky's factor of a matrix read backwards, whose inverse is the U that is wanted: no inverse of the
// whole matrix is needed.
class UpperFactor {
 public:
  UpperFactor(std::span<double> symmetric, int64_t n, ThreadPool& threads)
      : m_(symmetric.data()), n_(n), threads_(threads), transposed_(static_cast<size_t>(kBlock * n)) {}

  // Whether there is one.
  bool run() {
    for (int64_t first = (n_ - 1) / kBlock * kBlock; first >= 0; first -= kBlock) {
      const int64_t last = std::min(first + kBlock, n_);
      if (!factor_block(first, last)) return false;
      threads_.parallel_for(first / kDoubles, [&](int64_t task, int) {
        for (int64_t row = task * kDoubles; row < (task + 1) * kDoubles; ++row) solve_row(row, first, last);
      });
      threads_.parallel_for(first / kDoubles, [&](int64_t task, int) { subtract(task * kDoubles, first, last); });
    }
    return true;
  }

 private:
  double* row(int64_t r) { return m_ + r * n_; }

  bool factor_block(int64_t first, int64_t last) {
    for (int64_t col = last - 1; col >= first; --col) {
      double square = row(col)[col];
      for (int64_t k = col + 1; k < last; ++k) square -= row(col)[k] * row(col)[k];
      if (!(square > 0) || !std::isfinite(square)) return false;
      row(col)[col] = std::sqrt(square);
      for (int64_t r = first; r < col; ++r) solve_element(r, col, last);
    }
    return true;
  }

  void solve_element(int64_t r, int64_t col, int64_t last) {
    double value = row(r)[col];
    for (int64_t k = col + 1; k < last; ++k) value -= row(r)[k] * row(col)[k];
    row(r)[col] = value / row(col)[col];
  }

  void solve_row(int64_t r, int64_t first, int64_t last) {
    for (int64_t col = last - 1; col >= first; --col) solve_element(r, col, last);
    for (int64_t k = first; k < last; ++k) transposed_[static_cast<size_t>((k - first) * n_ + r)] = row(r)[k];
  }

  // Takes the block's columns out of the upper half of kDoubles rows from first_row.
  void subtract(int64_t first_row, int64_t first, int64_t last) {
    for (int64_t r = first_row; r < first_row + kDoubles; r += 2) {
      for (int64_t col = first_row; col < first; col += kDoubles) {
        double sums[2][kDoubles];
        WeightedSums<double>{row(r) + first, n_, transposed_.data() + col, n_, last - first}.compute(2, sums[0]);
        for (int lane = 0; lane < kDoubles; ++lane) {
          row(r)[col + lane] -= sums[0][lane];
          row(r + 1)[col + lane] -= sums[1][lane];
        }
      }
    }
  }

  double* m_;
  int64_t n_;
  ThreadPool& threads_;
  std::vector<double> transposed_;  // [kBlock, n] the block's columns
};

// Columns [first, first + 8) of the inverse of upper triangular m [n, n], as rows of `transposed` [n, n].
void invert_columns(const double* m, int64_t n, int64_t first, std::vector<float>& transposed) {
  const int64_t last = std::min(first + kDoubles, n);
  std::vector<double> columns(static_cast<size_t>(last * kDoubles));
  for (int64_t r = last - 1; r >= 0; --r) {
    double sums[kDoubles];
    const double* below = columns.data() + (r + 1) * kDoubles;
    WeightedSums<double>{m + r * n + r + 1, n, below, kDoubles, last - r - 1}.compute(1, sums);
    for (int64_t lane = 0; lane < kDoubles; ++lane) {
      const double unit = first + lane == r ? 1 : 0;
      columns[static_cast<size_t>(r * kDoubles + lane)] = (unit - sums[lane]) / m[r * n + r];
    }
  }
  for (int64_t col = first; col < last; ++col) {
    for (int64_t r = 0; r <= col; ++r) {
      transposed[static_cast<size_t>(col * n + r)] =
          static_cast<float>(columns[static_cast<size_t>(r * kDoubles + col - first)]);
    }
  }
}

}  // namespace

std::vector<float> inverse_cholesky(std::span<double> symmetric, int64_t n, ThreadPool& threads) {
  CHECK(symmetric.size() == static_cast<size_t>(n * n));
  if (!UpperFactor(symmetric, n, threads).run()) return {};
  std::vector<float> lower(symmetric.size());
  const int64_t strips = (n + kDoubles - 1) / kDoubles;
  // The longest first.
  threads.parallel_for(
      strips, [&](int64_t task, int) { invert_columns(symmetric.data(), n, (strips - 1 - task) * kDoubles, lower); });
  return lower;
}

std::vector<float> damped_inverse_cholesky(std::span<const float> products, std::span<const int32_t> order,
                                           double damping, ThreadPool& threads) {
  const int64_t n = std::llround(std::sqrt(static_cast<double>(products.size())));
  CHECK(products.size() == static_cast<size_t>(n * n) && damping > 0);
  double mean = 0;
  for (int64_t i = 0; i < n; ++i) mean += products[static_cast<size_t>(i * n + i)] / static_cast<double>(n);
  if (!std::isfinite(mean)) fail(ErrorCode::kCorrupt, "the sums of calibration inputs are not finite numbers");
  const double scale = mean > 0 ? mean : 1;
  std::vector<double> damped(products.size());
  // Beyond damping of 1e6 times the mean no rounding error is left that could be in the way.
  for (double amount = damping; amount < 1e6; amount *= 10) {
    threads.parallel_for(n, [&](int64_t row, int) {
      const int64_t from = order.empty() ? row : order[static_cast<size_t>(row)];
      for (int64_t col = row; col < n; ++col) {
        const int64_t at = order.empty() ? col : order[static_cast<size_t>(col)];
        damped[static_cast<size_t>(row * n + col)] = products[static_cast<size_t>(from * n + at)] / scale;
      }
      damped[static_cast<size_t>(row * n + row)] += mean > 0 ? amount : 1;
    });
    std::vector<float> lower = inverse_cholesky(damped, n, threads);
    if (!lower.empty()) return lower;
  }
  fail(ErrorCode::kCorrupt, "the sums of calibration inputs are not finite numbers");
}

}  // namespace quire
