// Magnitude, Wanda and SparseGPT: which weights go, and what that does to the output on correlated inputs.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "base/error.h"
#include "compress/pruning/magnitude.h"
#include "compress/pruning/sparsegpt.h"
#include "compress/pruning/wanda.h"

namespace quire {
namespace {

struct Calibrated {
  int64_t rows;
  int64_t cols;
  std::vector<float> weights;
  InputStatistics input;

  FloatMatrix matrix() const { return {weights, rows, cols}; }

  // Inputs with a few common directions and columns of very different sizes, as those of language models.
  Calibrated(int64_t num_rows, int64_t num_cols, uint32_t seed) : rows(num_rows), cols(num_cols) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    const auto n = static_cast<size_t>(cols);
    weights.resize(static_cast<size_t>(rows) * n);
    for (float& w : weights) w = normal(random);
    constexpr size_t kDirections = 4;
    std::vector<float> directions(kDirections * n);
    std::vector<float> sizes(n);
    for (float& d : directions) d = normal(random);
    for (float& size : sizes) size = std::exp(normal(random));
    input.cols = cols;
    input.num_rows = 3 * cols;
    input.square_sums.assign(n, 0);
    input.products.assign(n * n, 0);
    std::vector<float> x(n);
    for (int64_t seen = 0; seen < input.num_rows; ++seen) {
      for (float& value : x) value = 0.5f * normal(random);
      for (size_t d = 0; d < kDirections; ++d) {
        const float share = normal(random);
        for (size_t c = 0; c < n; ++c) x[c] += share * directions[d * n + c];
      }
      for (size_t c = 0; c < n; ++c) x[c] *= sizes[c];
      for (size_t a = 0; a < n; ++a) {
        input.square_sums[a] += x[a] * x[a];
        for (size_t b = 0; b < n; ++b) input.products[a * n + b] += x[a] * x[b];
      }
    }
  }

  // sum over the rows seen of |(matrix - pruned) x|^2
  double loss(const std::vector<float>& pruned) const {
    const auto n = static_cast<size_t>(cols);
    double sum = 0;
    for (size_t r = 0; r < static_cast<size_t>(rows); ++r) {
      for (size_t a = 0; a < n; ++a) {
        const double error = double{weights[r * n + a]} - double{pruned[r * n + a]};
        for (size_t b = 0; b < n; ++b) {
          sum += error * double{input.products[a * n + b]} * (double{weights[r * n + b]} - double{pruned[r * n + b]});
        }
      }
    }
    return sum;
  }
};

// The zeros among columns [first, first + count) of a row.
int64_t zeros_in(const std::vector<float>& matrix, int64_t cols, int64_t row, int64_t first, int64_t count) {
  const auto from = matrix.begin() + row * cols + first;
  return std::count(from, from + count, 0.0f);
}

void expect_pattern(const std::vector<float>& pruned, const Calibrated& from, int64_t group, int64_t zeros) {
  for (int64_t row = 0; row < from.rows; ++row) {
    for (int64_t first = 0; first < from.cols; first += group) {
      ASSERT_EQ(zeros_in(pruned, from.cols, row, first, group), zeros) << "row " << row << " column " << first;
    }
  }
}

TEST(Sparsity, IsReadFromWords) {
  EXPECT_EQ(parse_sparsity("50%").share, 0.5);
  EXPECT_EQ(parse_sparsity("50%").group, 0);
  EXPECT_EQ(parse_sparsity("32:64").num_zeros(64), 32);
  EXPECT_EQ(parse_sparsity("2:4").group, 4);
  EXPECT_EQ(parse_sparsity("3:4").share, 0.25);
  for (const char* wrong : {"", "50", "0%", "100%", "2:2", "0:4", "2:", ":4", "-1:4", "2:4:8", "x%", "1:1000"}) {
    EXPECT_THROW(parse_sparsity(wrong), Error) << wrong;
  }
}

TEST(Pruning, TheLowestScoresGoFirst) {
  ThreadPool threads(1);
  const std::vector<float> weights = {1, -3, 2, 2, 0.5f, 4, -4, 1};
  const FloatMatrix matrix{weights, 1, 8};
  EXPECT_EQ(prune_by_magnitude(matrix, {.share = 0.5}, threads), (std::vector<float>{0, -3, 2, 0, 0, 4, -4, 0}));
  EXPECT_EQ(prune_by_magnitude(matrix, {.group = 4}, threads), (std::vector<float>{0, -3, 2, 0, 0, 4, -4, 0}));
  EXPECT_EQ(prune_by_magnitude(matrix, {.share = 0.25, .group = 4}, threads),
            (std::vector<float>{0, -3, 2, 2, 0, 4, -4, 1}));
  const InputStatistics input{.cols = 8, .num_rows = 1, .square_sums = {100, 1, 1, 1, 0, 1, 0, 100}};
  EXPECT_EQ(prune_by_wanda(matrix, input, {.share = 0.5}, threads), (std::vector<float>{1, -3, 0, 0, 0, 4, 0, 1}));
}

TEST(Pruning, MethodsKeepToThePattern) {
  ThreadPool threads(2);
  const Calibrated from(20, 128, 1);
  for (const char* words : {"2:4", "4:8", "32:64"}) {
    const SparsityPattern pattern = parse_sparsity(words);
    for (const auto& pruned : {prune_by_magnitude(from.matrix(), pattern, threads),
                               prune_by_wanda(from.matrix(), from.input, pattern, threads),
                               prune_by_sparsegpt(from.matrix(), from.input, {.pattern = pattern}, threads)}) {
      expect_pattern(pruned, from, pattern.group, pattern.group / 2);
    }
  }
  expect_pattern(prune_by_wanda(from.matrix(), from.input, {.share = 0.75}, threads), from, 128, 96);
  expect_pattern(prune_by_sparsegpt(from.matrix(), from.input, {.pattern = {.share = 0.75}}, threads), from, 128, 96);
}

// The published order (arXiv 2306.11695, table 2), and that of the patterns: the more columns compete, the better.
TEST(Pruning, LossesAreInThePublishedOrder) {
  ThreadPool threads(2);
  const Calibrated from(24, 128, 2);
  double looser = 0;
  for (const char* words : {"50%", "32:64", "4:8", "2:4"}) {
    const SparsityPattern pattern = parse_sparsity(words);
    const double magnitude = from.loss(prune_by_magnitude(from.matrix(), pattern, threads));
    const double wanda = from.loss(prune_by_wanda(from.matrix(), from.input, pattern, threads));
    const double sparsegpt = from.loss(prune_by_sparsegpt(from.matrix(), from.input, {.pattern = pattern}, threads));
    RecordProperty(words, std::to_string(magnitude) + " " + std::to_string(wanda) + " " + std::to_string(sparsegpt));
    EXPECT_LT(sparsegpt, wanda) << words;
    EXPECT_LT(wanda, magnitude) << words;
    EXPECT_GT(sparsegpt, looser) << words;
    looser = sparsegpt;
  }
}

// The inverse of the trailing part of a matrix [n, n], from row and column `first` on, by Gauss and Jordan.
std::vector<double> inverse_from(const std::vector<double>& matrix, size_t n, size_t first) {
  const size_t size = n - first;
  std::vector<double> a(size * size);
  std::vector<double> inverse(size * size, 0.0);
  for (size_t i = 0; i < size; ++i) {
    inverse[i * size + i] = 1;
    for (size_t j = 0; j < size; ++j) a[i * size + j] = matrix[(first + i) * n + first + j];
  }
  for (size_t pivot = 0; pivot < size; ++pivot) {
    const double scale = 1 / a[pivot * size + pivot];
    for (size_t j = 0; j < size; ++j) {
      a[pivot * size + j] *= scale;
      inverse[pivot * size + j] *= scale;
    }
    for (size_t i = 0; i < size; ++i) {
      const double factor = a[i * size + pivot];
      if (i == pivot || factor == 0) continue;
      for (size_t j = 0; j < size; ++j) {
        a[i * size + j] -= factor * a[pivot * size + j];
        inverse[i * size + j] -= factor * inverse[pivot * size + j];
      }
    }
  }
  return inverse;
}

// The textbook form of algorithm 1: the optimal update of all columns behind, from an explicit inverse for each column.
std::vector<float> prune_plainly(const Calibrated& from, int64_t group, double damping) {
  const auto n = static_cast<size_t>(from.cols);
  std::vector<double> products(from.input.products.begin(), from.input.products.end());
  double mean = 0;
  for (size_t i = 0; i < n; ++i) mean += products[i * n + i] / static_cast<double>(n);
  for (size_t i = 0; i < n; ++i) products[i * n + i] += damping * mean;
  std::vector<std::vector<double>> inverses;
  for (size_t i = 0; i < n; ++i) inverses.push_back(inverse_from(products, n, i));
  std::vector<float> out;
  for (size_t r = 0; r < static_cast<size_t>(from.rows); ++r) {
    std::vector<double> row(from.weights.begin() + static_cast<int64_t>(r * n),
                            from.weights.begin() + static_cast<int64_t>((r + 1) * n));
    std::vector<bool> goes(n);
    for (size_t c = 0; c < n; ++c) {
      if (c % static_cast<size_t>(group) == 0) {
        std::vector<std::pair<double, size_t>> errors;
        for (size_t i = c; i < c + static_cast<size_t>(group); ++i)
          errors.emplace_back(row[i] * row[i] / inverses[i][0], i);
        std::ranges::sort(errors);
        for (size_t i = 0; i < errors.size() / 2; ++i) goes[errors[i].second] = true;
      }
      if (!goes[c]) continue;
      const double factor = row[c] / inverses[c][0];
      for (size_t i = c; i < n; ++i) row[i] -= factor * inverses[c][i - c];
      row[c] = 0;
    }
    out.insert(out.end(), row.begin(), row.end());
  }
  return out;
}

TEST(Pruning, SparseGptAgreesWithTheTextbook) {
  ThreadPool threads(2);
  const Calibrated from(18, 32, 3);
  for (const int64_t group : {4, 8, 32}) {
    const std::vector<float> pruned =
        prune_by_sparsegpt(from.matrix(), from.input, {.pattern = {.group = group}}, threads);
    const std::vector<float> want = prune_plainly(from, group, 0.01);
    for (size_t i = 0; i < want.size(); ++i) ASSERT_NEAR(pruned[i], want[i], 2e-3) << "group " << group << ", " << i;
  }
}

TEST(Pruning, SameBitsWithAnyNumberOfThreads) {
  const Calibrated from(37, 64, 4);
  ThreadPool one(1);
  ThreadPool three(3);
  EXPECT_EQ(prune_by_sparsegpt(from.matrix(), from.input, {}, one),
            prune_by_sparsegpt(from.matrix(), from.input, {}, three));
  EXPECT_EQ(prune_by_wanda(from.matrix(), from.input, {}, one), prune_by_wanda(from.matrix(), from.input, {}, three));
}

}  // namespace
}  // namespace quire
