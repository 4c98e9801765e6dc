#include "compress/methods/gptq.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "compress/matrices/linear_algebra.h"
#include "compress/matrices/synthetic_input.h"
#include "compress/methods/clip.h"
#include "compress/methods/rtn.h"

namespace quire {
namespace {

using testing::correlated_input;
using testing::random_floats;
using testing::values_of;

// The inverse of a positive definite matrix, by Gauss and Jordan.
std::vector<double> inverse_of(std::vector<double> m, int64_t n) {
  std::vector<double> inverse(m.size());
  for (int64_t i = 0; i < n; ++i) inverse[static_cast<size_t>(i * n + i)] = 1;
  for (int64_t p = 0; p < n; ++p) {
    const double pivot = m[static_cast<size_t>(p * n + p)];
    for (int64_t c = 0; c < n; ++c) {
      m[static_cast<size_t>(p * n + c)] /= pivot;
      inverse[static_cast<size_t>(p * n + c)] /= pivot;
    }
    for (int64_t r = 0; r < n; ++r) {
      const double factor = m[static_cast<size_t>(r * n + p)];
      if (r == p || factor == 0) continue;
      for (int64_t c = 0; c < n; ++c) {
        m[static_cast<size_t>(r * n + c)] -= factor * m[static_cast<size_t>(p * n + c)];
        inverse[static_cast<size_t>(r * n + c)] -= factor * inverse[static_cast<size_t>(p * n + c)];
      }
    }
  }
  return inverse;
}

TEST(InverseCholesky, MultipliesBackToTheIdentity) {
  ThreadPool threads(2);
  for (const int64_t n : {1, 2, 7, 8, 63, 64, 65, 200}) {
    const InputStatistics input = correlated_input(n, 2 * n + 3, 7);
    std::vector<double> symmetric(input.products.begin(), input.products.end());
    const std::vector<double> inverse = inverse_of(symmetric, n);
    const std::vector<float> lower = inverse_cholesky(symmetric, n, threads);
    ASSERT_EQ(lower.size(), static_cast<size_t>(n * n));
    double largest = 0;
    for (const double value : inverse) largest = std::max(largest, std::abs(value));
    for (int64_t r = 0; r < n; ++r) {
      for (int64_t c = 0; c < n; ++c) {
        if (c > r) {
          ASSERT_EQ(lower[static_cast<size_t>(r * n + c)], 0);
        }
        double product = 0;  // U^T U = L L^T
        for (int64_t k = 0; k <= std::min(r, c); ++k) {
          product += double{lower[static_cast<size_t>(r * n + k)]} * double{lower[static_cast<size_t>(c * n + k)]};
        }
        ASSERT_NEAR(product, inverse[static_cast<size_t>(r * n + c)], 1e-6 * largest) << n;
      }
    }
  }
}

TEST(InverseCholesky, RefusesWhatIsNotPositiveDefinite) {
  ThreadPool threads(1);
  std::vector<double> m = {1, 2, 2, 1};
  EXPECT_TRUE(inverse_cholesky(m, 2, threads).empty());
  // Damping is raised until it is: two inputs that always agree, and one never seen.
  const std::vector<float> products = {1, 1, 0, 1, 1, 0, 0, 0, 0};
  const std::vector<float> lower = damped_inverse_cholesky(products, {}, 1e-30, threads);
  EXPECT_EQ(lower.size(), 9u);
  const std::vector<float> nothing(9, 0.0f);
  EXPECT_EQ(damped_inverse_cholesky(nothing, {}, 0.01, threads), std::vector<float>({1, 0, 0, 0, 1, 0, 0, 0, 1}));
}

// The paper's procedure word by word: after each column the inverse of what is left, by Gaussian elimination.
std::vector<float> plain_gptq(const FloatMatrix& matrix, const InputStatistics& input, const GptqOptions& options) {
  const int64_t n = matrix.cols;
  std::vector<int64_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  const auto product = [&](int64_t a, int64_t b) { return double{input.products[static_cast<size_t>(a * n + b)]}; };
  double mean = 0;
  for (int64_t i = 0; i < n; ++i) mean += product(i, i) / static_cast<double>(n);
  if (options.order != ColumnOrder::kAsTheyAre) {
    std::ranges::stable_sort(order, [&](int64_t a, int64_t b) { return product(a, a) > product(b, b); });
  }
  std::vector<double> damped(static_cast<size_t>(n * n));
  for (int64_t a = 0; a < n; ++a) {
    for (int64_t b = 0; b < n; ++b) {
      damped[static_cast<size_t>(a * n + b)] = product(order[static_cast<size_t>(a)], order[static_cast<size_t>(b)]);
    }
    damped[static_cast<size_t>(a * n + a)] += options.damping * mean;
  }
  const int64_t group = options.grid.group_columns(n);
  std::vector<float> result(matrix.values.size());
  for (int64_t row = 0; row < matrix.rows; ++row) {
    std::vector<double> inverse = inverse_of(damped, n);
    std::vector<double> weights;
    for (const int64_t col : order) weights.push_back(matrix.row(row)[static_cast<size_t>(col)]);
    ScaleZero scale;
    for (int64_t k = 0; k < n; ++k) {
      std::vector<float> x;
      const int64_t col = order[static_cast<size_t>(k)];
      if (options.order == ColumnOrder::kByInput) {
        const auto first = matrix.row(row).begin() + col / group * group;
        x.assign(first, first + group);
      } else if (k % group == 0) {
        x.assign(weights.begin() + k, weights.begin() + k + group);
      }
      if (!x.empty()) scale = scale_of_range(x, options.grid);
      const auto weight = weights[static_cast<size_t>(k)];
      const float value = value_of(code_of(static_cast<float>(weight), scale, options.grid), scale);
      result[static_cast<size_t>(row * n + col)] = value;
      const double pivot = inverse[static_cast<size_t>(k * n + k)];
      const double error = (weight - double{value}) / pivot;
      for (int64_t j = k; j < n; ++j)
        weights[static_cast<size_t>(j)] -= error * inverse[static_cast<size_t>(k * n + j)];
      for (int64_t a = k + 1; a < n; ++a) {
        const double factor = inverse[static_cast<size_t>(a * n + k)] / pivot;
        for (int64_t b = k; b < n; ++b) {
          inverse[static_cast<size_t>(a * n + b)] -= factor * inverse[static_cast<size_t>(k * n + b)];
        }
      }
    }
  }
  return result;
}

constexpr ColumnOrder kOrders[] = {ColumnOrder::kAsTheyAre, ColumnOrder::kByInput, ColumnOrder::kByInputInGroups};

TEST(Gptq, IsThePapersProcedure) {
  ThreadPool threads(2);
  const InputStatistics input = correlated_input(192, 400, 8);
  const std::vector<float> values = random_floats(5 * 192, 9);
  const FloatMatrix matrix = {values, 5, 192};
  for (const ColumnOrder order : kOrders) {
    for (const int64_t group : {32, 96, 0}) {
      for (const bool symmetric : {true, false}) {
        const GptqOptions options = {
            .grid = {.bits = 4, .group = group, .symmetric = symmetric}, .order = order, .search_clip = false};
        const std::vector<float> found = values_of(gptq(matrix, input, options, threads));
        const std::vector<float> expected = plain_gptq(matrix, input, options);
        for (size_t i = 0; i < values.size(); ++i) {
          ASSERT_NEAR(found[i], expected[i], 1e-4) << i << " group " << group << " order " << static_cast<int>(order);
        }
      }
    }
  }
}

TEST(Gptq, LessensTheOutputErrorOfRounding) {
  ThreadPool threads(2);
  const InputStatistics input = correlated_input(128, 300, 10);
  const std::vector<float> values = random_floats(20 * 128, 11);
  const FloatMatrix matrix = {values, 20, 128};
  for (const int bits : {2, 3, 4, 8}) {
    const GroupGrid grid = {.bits = bits, .group = 32, .symmetric = bits != 3};
    const std::vector<float> rounded = values_of(round_to_nearest(matrix, {.grid = grid}, threads));
    const double plain = output_error(matrix, {rounded, 20, 128}, input, threads);
    for (const ColumnOrder order : kOrders) {
      const std::vector<float> coded = values_of(gptq(matrix, input, {.grid = grid, .order = order}, threads));
      EXPECT_LT(output_error(matrix, {coded, 20, 128}, input, threads), 0.6 * plain) << bits;
    }
  }
}

TEST(Gptq, HasTheSameBitsForAnyNumberOfThreads) {
  ThreadPool one(1);
  ThreadPool three(3);
  const InputStatistics input = correlated_input(160, 200, 12);
  const std::vector<float> values = random_floats(50 * 160, 13);
  const FloatMatrix matrix = {values, 50, 160};
  const GptqOptions options = {.grid = {.bits = 4, .group = 32}, .order = ColumnOrder::kByInputInGroups};
  const GroupMatrix a = gptq(matrix, input, options, one);
  const GroupMatrix b = gptq(matrix, input, options, three);
  EXPECT_EQ(a.codes, b.codes);
  EXPECT_EQ(a.scales, b.scales);
  EXPECT_EQ(a.groups, b.groups);
  // A row alone has the codes that it has among others.
  const GroupMatrix last = gptq({std::span(values).subspan(49 * 160), 1, 160}, input, options, one);
  EXPECT_TRUE(std::ranges::equal(last.codes, std::span(a.codes).subspan(49 * 160)));
}

TEST(Gptq, RoundsColumnsThatWereNeverSeen) {
  ThreadPool threads(1);
  InputStatistics input = correlated_input(32, 100, 14);
  for (int64_t i = 0; i < 32; ++i)
    input.products[static_cast<size_t>(5 * 32 + i)] = input.products[static_cast<size_t>(i * 32 + 5)] = 0;
  const std::vector<float> values = random_floats(32, 15);
  const GptqOptions options = {.grid = {.bits = 8, .group = 32}, .order = ColumnOrder::kByInput, .search_clip = false};
  const std::vector<float> coded = values_of(gptq({values, 1, 32}, input, options, threads));
  const std::vector<float> rounded = values_of(round_to_nearest({values, 1, 32}, {.grid = options.grid}, threads));
  EXPECT_EQ(coded[5], rounded[5]);
}

}  // namespace
}  // namespace quire
