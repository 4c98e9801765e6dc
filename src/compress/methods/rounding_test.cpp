// Scales, round to nearest and E4M3.
#include <gtest/gtest.h>

#include <cmath>

#include "compress/matrices/synthetic_input.h"
#include "compress/methods/clip.h"
#include "compress/methods/float8.h"
#include "compress/methods/rtn.h"
#include "tensor/float8.h"
#include "tensor/half.h"

namespace quire {
namespace {

using testing::random_floats;
using testing::values_of;

double squared_error(std::span<const float> a, std::span<const float> b, std::span<const float> importance = {}) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double difference = double{a[i]} - double{b[i]};
    sum += (importance.empty() ? 1.0 : double{importance[i % importance.size()]}) * difference * difference;
  }
  return sum;
}

TEST(RoundToNearest, EveryGridHoldsWhatItsRangePromises) {
  ThreadPool threads(2);
  const std::vector<float> values = random_floats(5 * 128, 1);
  const FloatMatrix matrix = {values, 5, 128};
  for (const int bits : {2, 3, 4, 5, 6, 7, 8}) {
    for (const int64_t group : {32, 64, 128, 0}) {
      for (const bool symmetric : {false, true}) {
        const GroupGrid grid = {.bits = bits, .group = group, .symmetric = symmetric};
        const GroupMatrix rounded = round_to_nearest(matrix, {.grid = grid}, threads);
        const std::vector<float> back = values_of(rounded);
        for (int64_t row = 0; row < 5; ++row) {
          for (int64_t col = 0; col < 128; ++col) {
            const auto at = static_cast<size_t>(row * rounded.num_groups() + rounded.group_of(col));
            const auto i = static_cast<size_t>(row * 128 + col);
            // The zero point is rounded too, which may move either end of the range by half a step.
            EXPECT_LE(std::abs(back[i] - values[i]), rounded.scales[at] * 1.01f) << bits << ' ' << group;
            EXPECT_EQ(rounded.scales[at], f16_to_f32(f32_to_f16(rounded.scales[at])));
            if (symmetric) {
              EXPECT_EQ(rounded.zeros[at], 1 << (bits - 1));
            }
            EXPECT_LT(rounded.codes[i], 1 << bits);
          }
        }
      }
    }
  }
}

TEST(RoundToNearest, GroupsOfZerosAndOfOneSignAreHeld) {
  ThreadPool threads(1);
  std::vector<float> values(64, 0.0f);
  for (size_t i = 32; i < 64; ++i) values[i] = 5 + static_cast<float>(i % 16);
  for (const bool symmetric : {false, true}) {
    for (const bool search : {false, true}) {
      const GroupGrid grid = {.bits = 8, .group = 32, .symmetric = symmetric};
      const std::vector<float> back =
          values_of(round_to_nearest({values, 1, 64}, {.grid = grid, .search_clip = search}, threads));
      for (size_t i = 0; i < 64; ++i) EXPECT_NEAR(back[i], values[i], i < 32 ? 0 : 0.1);
    }
  }
}

TEST(RoundToNearest, ASearchIsNeverWorseAndOftenMuchBetter) {
  ThreadPool threads(2);
  const std::vector<float> values = random_floats(16 * 128, 3);
  const FloatMatrix matrix = {values, 16, 128};
  std::vector<float> importance(128);
  for (size_t i = 0; i < 128; ++i) importance[i] = i % 9 == 0 ? 20.0f : 1.0f;
  for (const int bits : {2, 3, 4, 8}) {
    for (const bool symmetric : {false, true}) {
      RoundingOptions options = {.grid = {.bits = bits, .group = 64, .symmetric = symmetric}};
      const auto plain = values_of(round_to_nearest(matrix, options, threads));
      options.search_clip = true;
      options.importance = importance;
      const auto searched = values_of(round_to_nearest(matrix, options, threads));
      const double before = squared_error(values, plain, importance);
      const double after = squared_error(values, searched, importance);
      EXPECT_LE(after, before) << bits;
      if (bits <= 4) {
        EXPECT_LT(after, 0.9 * before) << bits << ' ' << symmetric;
      }
    }
  }
}

TEST(RoundToNearest, ClipsByProductsLessenTheOutputError) {
  const std::vector<float> x = random_floats(32, 4);
  const InputStatistics input = testing::correlated_input(32, 64, 5);
  const GroupGrid grid = {.bits = 3, .group = 32, .symmetric = false};
  const auto error_of = [&](ScaleZero scale) {
    double sum = 0;
    for (int64_t row = 0; row < input.num_rows; ++row) {
      double output = 0;
      for (size_t i = 0; i < 32; ++i) {
        output += double{x[i] - value_of(code_of(x[i], scale, grid), scale)} *
                  double{input.sample[static_cast<size_t>(row) * 32 + i]};
      }
      sum += output * output;
    }
    return sum;
  };
  EXPECT_LT(error_of(search_clip_by_products(x, input.products, grid)), 0.8 * error_of(scale_of_range(x, grid)));
}

TEST(Float8, BlocksShareAScaleWithTheirLargest) {
  ThreadPool threads(2);
  const std::vector<float> values = random_floats(130 * 200, 6);
  const FloatMatrix matrix = {values, 130, 200};
  for (const Float8Blocks blocks : {kFloat8PerTensor, kFloat8PerRow, kFloat8Blocks128}) {
    const Float8Matrix rounded = round_to_float8(matrix, blocks, threads);
    for (int64_t row = 0; row < 130; ++row) {
      for (int64_t col = 0; col < 200; ++col) {
        const auto i = static_cast<size_t>(row * 200 + col);
        const int64_t down = rounded.block_rows > 0 ? row / rounded.block_rows : 0;
        const int64_t across = rounded.block_cols > 0 ? col / rounded.block_cols : 0;
        const float scale = rounded.scales[static_cast<size_t>(down * rounded.num_col_blocks() + across)];
        const float back = scale * e4m3_to_f32(rounded.codes[i]);
        ASSERT_NEAR(back, values[i], std::max(std::abs(values[i]) / 16, scale * 0x1p-10f) * 1.001f);
      }
    }
  }
  EXPECT_EQ(round_to_float8(matrix, kFloat8PerTensor, threads).scales.size(), 1u);
  EXPECT_EQ(round_to_float8(matrix, kFloat8PerRow, threads).scales.size(), 130u);
  EXPECT_EQ(round_to_float8(matrix, kFloat8Blocks128, threads).scales.size(), 4u);
}

}  // namespace
}  // namespace quire
