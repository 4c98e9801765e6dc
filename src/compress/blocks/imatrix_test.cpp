#include "compress/blocks/imatrix.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "base/thread_pool.h"
#include "compress/blocks/measured_importance.h"
#include "compress/files/convert.h"
#include "kernels/select.h"
#include "tensor/files/gguf_writer.h"

namespace quire {
namespace {

std::filesystem::path scratch(const std::string& name) {
  return std::filesystem::path(testing::TempDir()) / ("imatrix_test_" + name);
}

ImportanceFile example() {
  return {.entries = {{"blk.0.attn_q.weight", {.sums = {512, 1024, 0}, .counts = {1024}}},
                      {"blk.0.ffn_up_exps.weight", {.sums = {8, 16, 24, 0, 0, 0}, .counts = {8, 0}}}},
          .datasets = {"a.txt", "b.txt"},
          .num_chunks = 2,
          .chunk_tokens = 512};
}

std::string message_of(const std::filesystem::path& path) {
  try {
    read_imatrix(path);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(Imatrix, GgufFormKeepsEverything) {
  const auto path = scratch("all.gguf");
  write_imatrix(example(), path);
  const ImportanceFile file = read_imatrix(path);
  EXPECT_EQ(file.datasets, example().datasets);
  EXPECT_EQ(file.num_chunks, 2u);
  EXPECT_EQ(file.chunk_tokens, 512u);
  ASSERT_EQ(file.entries.size(), 2u);
  EXPECT_EQ(file.entries.at("blk.0.attn_q.weight").sums, (std::vector<float>{512, 1024, 0}));
  EXPECT_EQ(file.entries.at("blk.0.ffn_up_exps.weight").counts, (std::vector<float>{8, 0}));
}

TEST(Imatrix, BothFormsGiveTheSameImportance) {
  for (const char* name : {"both.gguf", "both.dat"}) {
    const auto path = scratch(name);
    write_imatrix(example(), path);
    const ImportanceFile file = read_imatrix(path);
    EXPECT_EQ(file.num_chunks, 2u);
    EXPECT_EQ(file.datasets.back(), "b.txt");
    EXPECT_EQ(file.importance("blk.0.attn_q.weight", 0, 1, 3), (std::vector<float>{0.5f, 1, 0})) << name;
    EXPECT_EQ(file.importance("blk.0.ffn_up_exps.weight", 0, 2, 3), (std::vector<float>{1, 2, 3})) << name;
    // An expert that saw nothing.
    EXPECT_EQ(file.importance("blk.0.ffn_up_exps.weight", 1, 2, 3), (std::vector<float>{1, 1, 1})) << name;
    EXPECT_TRUE(file.importance("output.weight", 0, 1, 3).empty()) << name;
    EXPECT_THROW(file.importance("blk.0.attn_q.weight", 0, 1, 4), Error) << name;
  }
}

TEST(Imatrix, RefusesWhatIsNone) {
  const auto path = scratch("bad.dat");
  const auto write = [&](const std::string& bytes) { std::ofstream(path, std::ios::binary) << bytes; };
  write("");
  EXPECT_NE(message_of(path).find("the file ends after 0"), std::string::npos);
  write("a plain text, which is no importance matrix at all");
  EXPECT_NE(message_of(path).find("expected an importance matrix"), std::string::npos);
  write(std::string("\xff\xff\xff\xff", 4));
  EXPECT_NE(message_of(path).find("is -1"), std::string::npos);
  write(std::string(4, '\0'));
  EXPECT_NE(message_of(path).find("no entries"), std::string::npos);

  write_imatrix(example(), path);
  const auto size = std::filesystem::file_size(path);
  std::filesystem::resize_file(path, size / 2);
  EXPECT_NE(message_of(path).find("the file ends after"), std::string::npos);

  ImportanceFile negative = example();
  negative.entries.begin()->second.sums[0] = -1;
  write_imatrix(negative, path);
  EXPECT_NE(message_of(path).find("holds -"), std::string::npos);

  GgufWriter model;
  model.add_string("general.architecture", "llama");
  model.write(path);
  EXPECT_NE(message_of(path).find("general.type"), std::string::npos);
}

// What a text shows of a model's inputs: matrices behind one norm see the same, and what was seen is written as
// llama-imatrix writes it.
TEST(Imatrix, IsMeasuredOnAText) {
  const auto source = Checkpoint::open(std::filesystem::path(QUIRE_SOURCE_DIR) / "tests/golden/mixtral");
  const auto path = scratch("model.gguf");
  ThreadPool threads(1);
  convert(*source, {.out = path, .type = Format::kF32, .replaces = true}, make_exec(threads));
  const auto model = Checkpoint::open(path);
  const ImportanceFile found = measure_importance(
      *model, {.windows = {{1, 5, 9, 13, 17, 21}, {1, 4, 7, 10, 13, 16}}, .dataset = "numbers", .num_threads = 1});
  const ImportanceEntry& q = found.entries.at("blk.0.attn_q.weight");
  EXPECT_EQ(q.counts, (std::vector<float>{12}));
  EXPECT_EQ(q.sums, found.entries.at("blk.0.attn_k.weight").sums);
  EXPECT_NE(q.sums, found.entries.at("blk.1.attn_q.weight").sums);
  const ImportanceEntry& up = found.entries.at("blk.0.ffn_up_exps.weight");
  const int64_t num_experts = model->gguf()->find_tensor("blk.0.ffn_up_exps.weight")->shape[0];
  EXPECT_EQ(std::ssize(up.counts), num_experts);
  float rows = 0;
  for (const float count : up.counts) rows += count;
  EXPECT_EQ(rows, 24) << "two experts for each token";
  EXPECT_EQ(found.entries.contains("output.weight"), model->gguf()->find_tensor("output.weight") != nullptr);
  for (const auto& [name, view] : model->gguf()->tensors()) {
    if (name.find("ffn_up") == std::string::npos) continue;
    EXPECT_EQ(std::ssize(found.importance(name, 1, num_experts, view.cols())), view.cols());
  }
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace quire
