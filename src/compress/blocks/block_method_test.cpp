#include "compress/blocks/block_method.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "compress/blocks/block_search.h"
#include "tensor/files/ggml_types.h"

namespace quire {
namespace {

std::vector<Format> searched_formats() {
  std::vector<Format> found;
  for (int i = 0; i < kNumFormats; ++i) {
    if (has_block_search(static_cast<Format>(i))) found.push_back(static_cast<Format>(i));
  }
  return found;
}

struct Sample {
  std::vector<float> values;
  std::vector<float> importance;
  MatrixRows matrix() const { return {.values = values, .cols = static_cast<int64_t>(importance.size())}; }
};

// Weights with heavy tails below inputs of which few are large, as in a model.
Sample make_sample(size_t rows, size_t cols, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 1);
  Sample sample;
  for (size_t i = 0; i < rows * cols; ++i) {
    const float value = normal(random);
    sample.values.push_back(0.02f * value * (1 + 0.3f * std::abs(value)));
  }
  for (size_t c = 0; c < cols; ++c) sample.importance.push_back(std::exp(1.5f * normal(random)));
  return sample;
}

TEST(BlockMethod, EveryBlockFormatOfGgufFilesButOneIsSearched) {
  for (int i = 0; i < kNumFormats; ++i) {
    const auto format = static_cast<Format>(i);
    const WeightFormat& row = weight_format(format);
    const bool is_block_of_files = ggml_type_of_format(format).has_value() && row.is_weight() && row.block_elements > 1;
    EXPECT_EQ(has_block_search(format), is_block_of_files && format != Format::kNVFP4) << row.name;
  }
}

TEST(BlockMethod, WeightedErrorIsBelowThatOfPlainQuantisation) {
  const Sample sample = make_sample(8, 512, 3);
  ThreadPool pool(1);
  for (const Format format : searched_formats()) {
    const WeightFormat& row = weight_format(format);
    const auto count = static_cast<int64_t>(sample.values.size());
    std::vector<std::byte> plain(row.bytes_of(count));
    row.quantize(sample.values.data(), plain.data(), count);
    const double before = weighted_error(format, sample.matrix(), sample.importance, plain, pool);
    const auto blocks = quantize_blocks(format, sample.matrix(), sample.importance, pool);
    const double after = weighted_error(format, sample.matrix(), sample.importance, blocks, pool);
    RecordProperty(row.name, std::to_string(after / before));
    // MXFP4 has nothing to choose but a power of two.
    EXPECT_LT(after, (format == Format::kMXFP4 ? 0.98 : 0.8) * before) << row.name;
  }
}

TEST(BlockMethod, WithoutImportanceItIsNoWorseThanPlainQuantisation) {
  const Sample sample = make_sample(8, 512, 4);
  ThreadPool pool(1);
  for (const Format format : searched_formats()) {
    const WeightFormat& row = weight_format(format);
    const auto count = static_cast<int64_t>(sample.values.size());
    std::vector<std::byte> plain(row.bytes_of(count));
    row.quantize(sample.values.data(), plain.data(), count);
    const double before = weighted_error(format, sample.matrix(), {}, plain, pool);
    const auto blocks = quantize_blocks(format, sample.matrix(), {}, pool);
    const double after = weighted_error(format, sample.matrix(), {}, blocks, pool);
    RecordProperty(row.name, std::to_string(after / before));
    EXPECT_LE(after, before) << row.name;
  }
}

TEST(BlockMethod, BytesDoNotDependOnThreads) {
  const Sample sample = make_sample(7, 256, 5);
  ThreadPool one(1);
  ThreadPool three(3);
  for (const Format format : searched_formats()) {
    EXPECT_EQ(quantize_blocks(format, sample.matrix(), sample.importance, one),
              quantize_blocks(format, sample.matrix(), sample.importance, three))
        << weight_format(format).name;
  }
}

// The search against every f16 scale there is, for a format with nothing else to choose.
TEST(BlockSearch, ScaleIsNearlyTheBestOfAll) {
  const Sample sample = make_sample(6, 32, 6);
  for (size_t row = 0; row < 6; ++row) {
    const float* x = sample.values.data() + 32 * row;
    const float* w = sample.importance.data();
    const auto error_of = [&](float d) {
      double error = 0;
      for (int i = 0; i < 32; ++i) {
        const float code = d == 0 ? 0 : std::clamp(std::nearbyint(x[i] / d), -8.0f, 7.0f);
        error += double{w[i]} * std::pow(double{x[i]} - double{d} * code, 2);
      }
      return error;
    };
    double least = error_of(0);
    for (int step = 1; step < 20000; ++step) {
      const float d = 1e-6f * static_cast<float>(step);
      least = std::min({least, error_of(d), error_of(-d)});
    }
    BlockParts parts;
    search_block(Format::kQ4_0, x, w, parts);
    alignas(2) std::byte block[18];
    block_packer(Format::kQ4_0)(parts, block);
    float out[32];
    weight_format(Format::kQ4_0).dequantize(block, out, 32);
    double found = 0;
    for (int i = 0; i < 32; ++i) found += double{w[i]} * std::pow(double{x[i]} - out[i], 2);
    EXPECT_LE(found, 1.03 * least) << row;
  }
}

TEST(BlockMethod, ExtremeRowsStayFiniteAndClose) {
  std::vector<std::vector<float>> rows;
  for (const float value : {0.0f, 1.0f, -1.0f, 1e-30f, 1e-6f, 60000.0f, -60000.0f}) rows.emplace_back(256, value);
  rows.emplace_back(256, 0.0f);
  rows.back()[17] = -3;
  rows.emplace_back();
  for (int i = 0; i < 256; ++i) rows.back().push_back(100 + static_cast<float>(i % 7));
  std::vector<float> unseen(256, 0.0f);
  std::vector<float> one_seen = unseen;
  one_seen[5] = 1e9f;
  ThreadPool pool(1);
  for (const Format format : searched_formats()) {
    for (const std::vector<float>& row : rows) {
      float reach = 1e-4f;
      for (const float value : row) reach = std::max(reach, std::abs(value));
      for (const auto& importance : {unseen, one_seen}) {
        const auto blocks = quantize_blocks(format, {.values = row, .cols = 256}, importance, pool);
        std::vector<float> out(256);
        weight_format(format).dequantize(blocks.data(), out.data(), 256);
        for (size_t i = 0; i < 256; ++i) {
          // What no input reaches may be lost for what one reaches, so only that one is close.
          if (importance[i] == 0 && importance[5] != 0) continue;
          ASSERT_LE(std::abs(out[i] - row[i]), 0.25f * reach) << weight_format(format).name << " " << row[i];
        }
        for (const float value : out) ASSERT_TRUE(std::isfinite(value)) << weight_format(format).name;
      }
    }
  }
}

TEST(BlockMethod, ImportanceIsTheMeanSquareOfTheInput) {
  InputStatistics statistics;
  statistics.cols = 2;
  EXPECT_EQ(importance_of(statistics), (std::vector<float>{1, 1}));
  statistics.num_rows = 4;
  statistics.square_sums = {8, 2};
  EXPECT_EQ(importance_of(statistics), (std::vector<float>{2, 0.5f}));
}

}  // namespace
}  // namespace quire
