#include "compress/blocks/imatrix.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "base/error.h"
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

}  // namespace
}  // namespace quire
