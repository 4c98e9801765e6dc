// Scales and zero points found in the blocks of every format of whole codes, and whole models.
#include "compress/inspection.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "base/thread_pool.h"
#include "compress/compression.h"
#include "compress/matrices/synthetic_input.h"
#include "kernels/select.h"

namespace quire {
namespace {

namespace fs = std::filesystem;

// With one group in each block, every value is a whole number of scales away from the zero point.
TEST(Inspection, FindsTheScaleAndTheZeroPointOfABlock) {
  for (const Format format : {Format::kQ8_0, Format::kQ4_0, Format::kQ4_1, Format::kQ5_0, Format::kQ5_1,
                              Format::kI4_G32, Format::kI4_G128, Format::kI8_G128}) {
    const WeightFormat& row = weight_format(format);
    SCOPED_TRACE(row.name);
    std::vector<float> values = testing::random_floats(row.block_elements, 5);
    std::vector<std::byte> block(static_cast<size_t>(row.block_bytes));
    row.quantize(values.data(), block.data(), row.block_elements);
    row.dequantize(block.data(), values.data(), row.block_elements);
    const auto found = group_scales(format, block, row.block_elements);
    ASSERT_TRUE(found.has_value());
    EXPECT_EQ(found->scales.lowest, found->scales.highest);
    for (const float value : values) {
      const float code = value / found->scales.lowest + found->zeros.lowest;
      EXPECT_NEAR(code, std::round(code), 0.02);
    }
  }
}

// In a superblock the steps between neighbouring codes are among the scales that were found.
TEST(Inspection, FindsTheScalesOfSuperblocks) {
  for (const Format format : {Format::kQ2_K, Format::kQ3_K, Format::kQ4_K, Format::kQ5_K, Format::kQ6_K}) {
    const WeightFormat& row = weight_format(format);
    SCOPED_TRACE(row.name);
    std::vector<float> values = testing::random_floats(row.block_elements, 7);
    std::vector<std::byte> block(static_cast<size_t>(row.block_bytes));
    row.quantize(values.data(), block.data(), row.block_elements);
    row.dequantize(block.data(), values.data(), row.block_elements);
    const auto found = group_scales(format, block, row.block_elements);
    ASSERT_TRUE(found.has_value());
    float smallest = 1e9f;
    for (size_t i = 0; i < 16; ++i) {
      for (size_t k = 0; k < i; ++k) {
        const float step = std::abs(values[i] - values[k]);
        if (step > 1e-4f) smallest = std::min(smallest, step);
      }
    }
    const float least = std::min(std::abs(found->scales.lowest), std::abs(found->scales.highest));
    EXPECT_GE(smallest, 0.99f * least);
    EXPECT_LE(std::max(std::abs(found->scales.lowest), std::abs(found->scales.highest)), 2.0f);
  }
  EXPECT_FALSE(group_scales(Format::kBF16, std::vector<std::byte>(2), 1).has_value());
}

TEST(Inspection, MeasuresACompressedModelAgainstItsOriginal) {
  const auto source = Checkpoint::open(fs::path(QUIRE_SOURCE_DIR) / "tests/golden/llama3-gqa-tied");
  std::string pattern = (fs::temp_directory_path() / "quire-inspect-XXXXXX").string();
  const fs::path folder = mkdtemp(pattern.data());
  CompressionOptions options{.method = "rtn", .output = folder / "out", .num_threads = 1};
  options.settings.grid = {.bits = 4, .group = 8};
  compress(*source, options);
  const auto written = Checkpoint::open(folder / "out");
  ThreadPool threads(1);
  const Exec exec = make_exec(threads);
  Inspection inspection(*written, source.get());
  int num_codes = 0;
  for (const ConvertedTensor& tensor : inspection.tensors()) {
    const InspectedTensor seen = inspection.inspect(tensor, exec);
    int64_t count = 0, size = 1;
    for (const int64_t in_bin : seen.histogram) count += in_bin;
    for (const int64_t extent : seen.shape) size *= extent;
    EXPECT_EQ(count, size) << seen.name;
    ASSERT_TRUE(seen.difference.has_value());
    if (!seen.name.ends_with("_proj.weight")) {
      EXPECT_EQ(seen.difference->relative_rms, 0) << seen.name;
      continue;
    }
    ++num_codes;
    EXPECT_GT(seen.difference->relative_rms, 0.01) << seen.name;
    EXPECT_LT(seen.difference->relative_rms, 0.2) << seen.name;
    EXPECT_GT(seen.bits_per_weight, 4) << seen.name;
    EXPECT_LT(seen.bits_per_weight, 8) << seen.name;
  }
  EXPECT_EQ(num_codes, 14);
  fs::remove_all(folder);
}

}  // namespace
}  // namespace quire
