#include "compress/blocks/block_pipeline.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "base/error.h"
#include "tensor/files/gguf_writer.h"

namespace quire {
namespace {

const BlockProgress kSilent = [](uint64_t, uint64_t) {};

std::filesystem::path scratch_file(const std::string& name) {
  return std::filesystem::path(testing::TempDir()) / ("block_pipeline_test_" + name + ".gguf");
}

// Two layers of matrices whose sizes and ranges differ, a norm and a stack of two experts.
std::filesystem::path source_file() {
  const auto path = scratch_file("source");
  std::vector<float> values(512 * 64);
  for (size_t i = 0; i < values.size(); ++i) values[i] = 0.1f * std::sin(static_cast<float>(i * i % 9973));
  GgufWriter writer;
  writer.add_string("general.architecture", "llama");
  writer.add_string("tokenizer.chat_template", "{{ messages }}");
  writer.add_uint32("general.file_type", 0);
  const auto add = [&](const std::string& name, std::vector<int64_t> shape) {
    int64_t count = 1;
    for (const int64_t size : shape) count *= size;
    writer.add_tensor(name, Format::kF32, shape, std::span(values).first(static_cast<size_t>(count)));
  };
  add("token_embd.weight", {64, 256});
  add("output_norm.weight", {256});
  for (const std::string layer : {"blk.0.", "blk.1."}) {
    add(layer + "attn_q.weight", {32, 256});
    add(layer + "attn_v.weight", {16, 256});
    add(layer + "ffn_down_exps.weight", {2, 32, 512});
  }
  writer.write(path);
  return path;
}

ImportanceFile importance_file() {
  ImportanceFile file;
  ImportanceEntry& entry = file.entries["blk.0.ffn_down_exps.weight"];
  entry.counts = {4, 0};
  for (int i = 0; i < 1024; ++i) entry.sums.push_back(i % 16 == 0 ? 100.0f : 1.0f);
  return file;
}

TEST(BlockPipeline, WritesTheFormatsOfTheRecipeAndKeepsTheRest) {
  const GgufFile source = GgufFile::open(source_file());
  ThreadPool pool(2);
  const ImportanceFile importance = importance_file();
  const BlockOptions options = {.recipe = "Q4_K_M", .importance = &importance};
  const BlockPlan plan = plan_blocks(source, options, pool, kSilent);
  const auto path = scratch_file("recipe");
  write_blocks(source, plan, options, path, pool, kSilent);
  const GgufFile made = GgufFile::open(path);
  EXPECT_EQ(std::filesystem::file_size(path), plan.file_bytes);
  EXPECT_EQ(made.get_string("tokenizer.chat_template"), "{{ messages }}");
  EXPECT_EQ(made.get_int("general.file_type"), 15) << "that of Q4_K_M";
  EXPECT_EQ(made.get_tensor("token_embd.weight").format, Format::kQ6_K);
  EXPECT_EQ(made.get_tensor("blk.0.attn_q.weight").format, Format::kQ4_K);
  EXPECT_EQ(made.get_tensor("output_norm.weight").format, Format::kF32);
  for (const auto& [name, view] : source.tensors()) {
    const TensorView& other = made.get_tensor(name);
    ASSERT_EQ(other.num_elements(), view.num_elements());
    std::vector<float> before(static_cast<size_t>(view.num_elements()));
    std::vector<float> after(before.size());
    dequantize(view, before);
    dequantize(other, after);
    for (size_t i = 0; i < before.size(); ++i) ASSERT_NEAR(after[i], before[i], 0.03f) << name << " " << i;
  }
}

TEST(BlockPipeline, TargetIsKeptAndALargerOneCostsLess) {
  const GgufFile source = GgufFile::open(source_file());
  ThreadPool pool(1);
  double last = 1e30;
  for (const uint64_t target : {50'000u, 70'000u, 100'000u}) {
    const BlockOptions options = {.target_bytes = target};
    const BlockPlan plan = plan_blocks(source, options, pool, kSilent);
    EXPECT_LE(plan.file_bytes, target);
    double error = 0;
    for (const PlannedTensor& tensor : plan.tensors) error += tensor.error;
    EXPECT_LT(error, last);
    last = error;
  }
  EXPECT_THROW(plan_blocks(source, {.target_bytes = 20'000}, pool, kSilent), Error);
  EXPECT_THROW(plan_blocks(source, {.target_bytes = 100}, pool, kSilent), Error);
}

TEST(BlockPipeline, TakesBlocksForTheOriginalOnlyWhenTold) {
  const GgufFile source = GgufFile::open(source_file());
  ThreadPool pool(1);
  BlockOptions options = {.recipe = "Q8_0"};
  const auto path = scratch_file("blocks");
  write_blocks(source, plan_blocks(source, options, pool, kSilent), options, path, pool, kSilent);
  const GgufFile blocks = GgufFile::open(path);
  options.recipe = "Q4_0";
  EXPECT_THROW(plan_blocks(blocks, options, pool, kSilent), Error);
  options.requantizes = true;
  EXPECT_LT(plan_blocks(blocks, options, pool, kSilent).file_bytes, std::filesystem::file_size(path));
}

}  // namespace
}  // namespace quire
