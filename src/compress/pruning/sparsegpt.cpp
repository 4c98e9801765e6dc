#include "compress/pruning/sparsegpt.h"

#include "base/check.h"
#include "compress/matrices/linear_algebra.h"

namespace quire {
namespace {

constexpr int64_t kColumnsAtATime = 128;  // compete in an unstructured row
constexpr int64_t kRowsPerTask = 16;      // share each row of the factor while it is in a near cache

// The upper factor from its transpose: row i, from i on, is what a zero in column i does to the columns behind.
std::vector<float> transposed(const std::vector<float>& lower, int64_t n) {
  std::vector<float> upper(lower.size());
  for (int64_t row = 0; row < n; ++row) {
    for (int64_t col = 0; col <= row; ++col) {
      upper[static_cast<size_t>(col * n + row)] = lower[static_cast<size_t>(row * n + col)];
    }
  }
  return upper;
}

class RowPruner {
 public:
  RowPruner(const std::vector<float>& upper, int64_t cols, const SparsityPattern& pattern)
      : upper_(upper), cols_(cols), pattern_(pattern), is_zero_(static_cast<size_t>(kRowsPerTask * cols)) {}

  // weights [num_rows, cols]
  void prune(float* weights, int64_t num_rows) {
    for (int64_t col = 0; col < cols_; ++col) {
      const int64_t width = pattern_.group == 0 ? kColumnsAtATime : pattern_.group;
      const float* const errors = upper_.data() + col * cols_;
      for (int64_t r = 0; r < num_rows; ++r) {
        float* const row = weights + r * cols_;
        if (col % width == 0) choose(row, col, std::min(width, cols_ - col), r);
        if (is_zero_[static_cast<size_t>(r * cols_ + col)] == 0) continue;
        const float error = row[col] / errors[col];
        row[col] = 0;
        for (int64_t c = col + 1; c < cols_; ++c) row[c] -= error * errors[c];
      }
    }
  }

 private:
  // The zeros of columns [first, first + count), by (w / U(c, c))^2: the error of removing it.
  void choose(const float* row, int64_t first, int64_t count, int64_t r) {
    std::vector<float> scores(static_cast<size_t>(count));
    std::vector<float> marks(static_cast<size_t>(count), 1.0f);
    for (int64_t i = 0; i < count; ++i) {
      const float ratio = row[first + i] / upper_[static_cast<size_t>((first + i) * cols_ + first + i)];
      scores[static_cast<size_t>(i)] = ratio * ratio;
    }
    zero_lowest(marks, scores, pattern_.num_zeros(count));
    for (int64_t i = 0; i < count; ++i) {
      is_zero_[static_cast<size_t>(r * cols_ + first + i)] = marks[static_cast<size_t>(i)] == 0 ? 1 : 0;
    }
  }

  const std::vector<float>& upper_;
  int64_t cols_;
  const SparsityPattern& pattern_;
  std::vector<uint8_t> is_zero_;  // [kRowsPerTask, cols]
};

}  // namespace

std::vector<float> prune_by_sparsegpt(const FloatMatrix& matrix, const InputStatistics& input,
                                      const SparseGptOptions& options, ThreadPool& threads) {
  const int64_t cols = matrix.cols;
  CHECK(input.cols == cols && input.products.size() == static_cast<size_t>(cols * cols));
  const std::vector<float> upper =
      transposed(damped_inverse_cholesky(input.products, {}, options.damping, threads), cols);
  std::vector<float> out(matrix.values.begin(), matrix.values.end());
  threads.parallel_for((matrix.rows + kRowsPerTask - 1) / kRowsPerTask, [&](int64_t task, int) {
    const int64_t first = task * kRowsPerTask;
    RowPruner(upper, cols, options.pattern)
        .prune(out.data() + first * cols, std::min(kRowsPerTask, matrix.rows - first));
  });
  return out;
}

}  // namespace quire
