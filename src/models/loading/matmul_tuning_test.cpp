#include "models/loading/matmul_tuning.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "kernels/select.h"
#include "models/running/model_runner.h"
#include "models/running/test_models.h"

namespace quire {
namespace {

namespace fs = std::filesystem;

constexpr MatrixShape kWide{Format::kQ4_0, 96, 64};

class TuningFileTest : public testing::Test {
 protected:
  TuningFileTest() {
    std::string pattern = (fs::temp_directory_path() / "quire-tuning-XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
  }
  ~TuningFileTest() override { fs::remove_all(folder_); }

  fs::path write(const std::string& text) const {
    std::ofstream(folder_ / "tuning.json") << text;
    return folder_ / "tuning.json";
  }
  // Of this machine.
  fs::path write(const std::string& isa, int num_threads, const MatmulTunings& tunings) const {
    const fs::path path = folder_ / "deep" / "tuning.json";
    write_tuning({.isa = isa, .processor = processor_name(), .num_threads = num_threads, .tunings = tunings}, path);
    return path;
  }

  fs::path folder_;
};

std::string file_with(const std::string& matrices) {
  return R"({"kind": "quire tuning", "isa": "x", "processor": "y", "threads": 2, "matrices": [)" + matrices + "]}";
}

TEST_F(TuningFileTest, ReadsBackWhatWasWritten) {
  MatmulTuning tuning{.packed_tokens = 48,
                      .few_tokens = 8,
                      .few_panels = 1,
                      .many_panels = 4,
                      .one_panels = 2,
                      .fetch_ahead = 12288,
                      .one_fetch = 3072};
  const fs::path path = write("avx2", 3, {{kWide, tuning}, {{Format::kF16, 7, 32}, {}}});
  const TuningFile file = read_tuning(path);
  EXPECT_EQ(file.isa, "avx2");
  EXPECT_EQ(file.activations, Activations::kInt8);
  EXPECT_EQ(file.processor, processor_name());
  EXPECT_EQ(file.num_threads, 3);
  ASSERT_EQ(file.tunings.size(), 2u);
  EXPECT_EQ(tuning_json(kWide, file.tunings.at(kWide)), tuning_json(kWide, tuning));
  EXPECT_EQ(std::distance(fs::directory_iterator(path.parent_path()), {}), 1);  // nothing half written is left
}

TEST_F(TuningFileTest, BringsNumbersIntoTheirRanges) {
  const MatmulTunings tunings =
      read_tuning(write(file_with(
                      R"({"format": "Q4_0", "rows": 96, "cols": 64, "packed_tokens": -5, "few_tokens": 1000000,
                          "few_panels": 0, "many_panels": 70000, "one_panels": -1, "fetch_ahead": 9000000000000,
                          "one_fetch": -5})")))
          .tunings;
  const MatmulTuning expected{.packed_tokens = 0,
                              .few_tokens = 1024,
                              .few_panels = 1,
                              .many_panels = 8,
                              .one_panels = 1,
                              .fetch_ahead = 1 << 20,
                              .one_fetch = 0};
  EXPECT_EQ(tuning_json(kWide, tunings.at(kWide)), tuning_json(kWide, expected));
}

TEST_F(TuningFileTest, RefusesBrokenFiles) {
  const std::string size = R"("rows": 96, "cols": 64)";
  std::string many = "{}";
  for (int i = 0; i < 5000; ++i) many += ",{}";
  for (const std::string& text :
       {std::string(), std::string("{"), std::string("[]"), std::string("{}"), std::string(R"({"kind": "other"})"),
        file_with("7"), file_with("{" + size + "}"), file_with(R"({"format": "Q9", )" + size + "}"),
        file_with(R"({"format": "I8", )" + size + "}"), file_with(R"({"format": "Q4_0", "rows": -1, "cols": 64})"),
        file_with(R"({"format": "Q4_0", "few_tokens": "many", )" + size + "}"), file_with(many),
        R"({"activations": "int2", )" + file_with("").substr(1)}) {
    EXPECT_THROW(read_tuning(write(text)), Error) << text.substr(0, 200);
    EXPECT_TRUE(load_tuning(write(text), "x", kUsualActivations, 2).empty()) << text.substr(0, 200);
  }
  EXPECT_THROW(read_tuning(folder_), Error);
  EXPECT_THROW(write_tuning({}, write("") / "below-a-file"), Error);
}

TEST_F(TuningFileTest, OtherUsersMayReadIt) {
  const mode_t before = ::umask(022);
  const fs::path path = write("avx2", 2, {});
  ::umask(before);
  EXPECT_EQ(fs::status(path).permissions(), fs::perms(0644));
}

TEST_F(TuningFileTest, IsOfOneMachine) {
  const fs::path path = write("avx2", 2, {{kWide, {}}});
  EXPECT_EQ(load_tuning(path, "avx2", kUsualActivations, 2).size(), 1u);
  EXPECT_TRUE(load_tuning(path, "avx512", kUsualActivations, 2).empty());
  EXPECT_TRUE(load_tuning(path, "avx2", kUsualActivations, 1).empty());
  EXPECT_TRUE(load_tuning(folder_ / "nothing", "avx2", kUsualActivations, 2).empty());
  EXPECT_TRUE(load_tuning(write(file_with("")), "x", kUsualActivations, 2).empty());  // another processor
}

TEST_F(TuningFileTest, IsOfOneKindOfActivations) {
  const fs::path path = folder_ / "tuning.json";
  write_tuning({.isa = "avx2",
                .activations = Activations::kBf16,
                .processor = processor_name(),
                .num_threads = 2,
                .tunings = {{kWide, {}}}},
               path);
  EXPECT_EQ(load_tuning(path, "avx2", Activations::kBf16, 2).size(), 1u);
  EXPECT_TRUE(load_tuning(path, "avx2", Activations::kInt8, 2).empty());
  EXPECT_TRUE(load_tuning(path, "avx2", Activations::kF32, 2).empty());
}

TEST_F(TuningFileTest, TheCacheHasAFileForEachKindOfActivations) {
  const char* const present = std::getenv("XDG_CACHE_HOME");
  const std::optional<std::string> before = present == nullptr ? std::nullopt : std::optional<std::string>(present);
  ::setenv("XDG_CACHE_HOME", folder_.c_str(), 1);
  EXPECT_EQ(tuning_cache_file("avx2", Activations::kInt8), folder_ / "quire" / "tuning-avx2.json");
  EXPECT_EQ(tuning_cache_file("avx2", Activations::kBf16), folder_ / "quire" / "tuning-avx2-bf16.json");
  before ? ::setenv("XDG_CACHE_HOME", before->c_str(), 1) : ::unsetenv("XDG_CACHE_HOME");
}

// Logits of 70 tokens in chunks.
std::vector<float> logits(const Checkpoint& checkpoint, const std::string& isa, const std::string& tuning_file,
                          int64_t chunk) {
  const auto runner = ModelRunner::load(checkpoint, {.num_threads = 2,
                                                     .isa = isa,
                                                     .max_batch_tokens = 70,
                                                     .max_sequences = 1,
                                                     .max_context = 96,
                                                     .tuning_file = tuning_file});
  BlockTable blocks(3);
  std::iota(blocks.begin(), blocks.end(), 0);
  std::vector<float> all;
  for (int64_t at = 0; at < 70; at += chunk) {
    Batch batch;
    const int64_t count = std::min(chunk, 70 - at);
    for (int64_t i = 0; i < count; ++i) {
      batch.token_ids.push_back(static_cast<int32_t>((at + i) * 7 % 64));
      batch.logit_rows.push_back(static_cast<int32_t>(i));
    }
    batch.sequences.push_back({.num_tokens = count, .first_position = at, .block_tables = {&blocks, 1}});
    const std::span<const float> some = runner->run(batch);
    all.insert(all.end(), some.begin(), some.end());
  }
  return all;
}

TEST_F(TuningFileTest, NeverChangesABit) {
  const MatmulTuning extremes[] = {
      {.packed_tokens = 0, .few_tokens = 0, .few_panels = 1, .many_panels = 1, .fetch_ahead = 0, .one_fetch = 1},
      {.packed_tokens = 128,
       .few_tokens = 1024,
       .few_panels = 8,
       .many_panels = 8,
       .one_panels = 4,
       .fetch_ahead = 1 << 20,
       .one_fetch = 1 << 20},
      {.packed_tokens = 10,
       .few_tokens = 9,
       .few_panels = 3,
       .many_panels = 5,
       .one_panels = 7,
       .fetch_ahead = 100,
       .one_fetch = 3000}};
  for (const Format format : {Format::kQ4_0, Format::kQ4_1, Format::kF16}) {
    const std::string image = test::tiny_gguf({.inner = 160, .format = format});
    const auto checkpoint = Checkpoint::from_gguf_bytes(test::as_bytes(image), "tiny.gguf");
    for (const Kernels* table : runnable_kernels()) {
      const std::set<MatrixShape> matrices = ModelRunner::matrices(*checkpoint, *table);
      EXPECT_TRUE(matrices.contains({format, 160, 64}));  // gate and up
      EXPECT_EQ(matrices.size(), 4u);                     // with q and o, k and v, down; the head is like q
      const std::vector<float> expected = logits(*checkpoint, table->name, "", 70);
      for (const MatmulTuning& extreme : extremes) {
        MatmulTunings tunings;
        for (const MatrixShape& shape : matrices) tunings[shape] = extreme;
        const fs::path path = write(table->name, 2, tunings);
        ASSERT_EQ(load_tuning(path, table->name, kUsualActivations, 2).size(), matrices.size());
        for (const int64_t chunk : {1, 13, 70}) {
          const std::vector<float> tuned = logits(*checkpoint, table->name, path, chunk);
          ASSERT_EQ(tuned.size(), expected.size());
          EXPECT_EQ(std::memcmp(tuned.data(), expected.data(), expected.size() * sizeof(float)), 0)
              << table->name << ", chunks of " << chunk;
        }
      }
    }
  }
}

}  // namespace
}  // namespace quire
