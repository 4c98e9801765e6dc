// Trained models of the public test data must produce the expected text with greedy decoding. This tests file,
// tokenizer, arithmetic and cache together, under every kernel table this machine runs, and also with 16-bit keys and
// values.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <tuple>
#include <vector>

#include "dialogue/text_processor.h"
#include "kernels/select.h"
#include "models/loading/checkpoint.h"
#include "models/running/model_runner.h"
#include "runner_driver.h"

namespace quire {
namespace {

constexpr int64_t kPositions = 201;  // the beginning of sequence and 200 tokens

struct Story {
  const char* model;  // under models/
  const char* text;
};

const Story kStories[] = {
    {"stories260k/stories260K.gguf", "stories260k/expected/karpathy_greedy_200steps.txt"},
    {"babyllama105/babyllama105.gguf", "babyllama105/expected_runc_greedy200_m105.txt"},
};

// The tokens after the beginning of sequence, each the likeliest.
std::vector<int32_t> greedy_tokens(ModelRunner& runner, int32_t bos_id) {
  test::BlockPool pool(runner, 3);
  test::TestSequence sequence(std::vector<int32_t>(kPositions, bos_id), pool);
  while (!sequence.done()) {
    const test::Slice slice{&sequence, 1};
    const std::span<const float> row = test::step(runner, {&slice, 1});
    if (sequence.done()) break;
    sequence.tokens[static_cast<size_t>(sequence.fed)] =
        static_cast<int32_t>(std::max_element(row.begin(), row.end()) - row.begin());
  }
  return {sequence.tokens.begin() + 1, sequence.tokens.end()};
}

class GreedyTextTest : public testing::TestWithParam<std::tuple<Story, Format, std::string>> {};

TEST_P(GreedyTextTest, GivesTheExpectedText) {
  const char* data = std::getenv("QUIRE_TEST_DATA");
  if (data == nullptr) GTEST_SKIP() << "QUIRE_TEST_DATA does not name the folder of the public test data";
  const auto& [story, kv_format, isa] = GetParam();
  const auto models = std::filesystem::path(data) / "models";
  std::ifstream file(models / story.text, std::ios::binary);
  std::string expected{std::istreambuf_iterator<char>(file), {}};
  ASSERT_GT(expected.size(), 100u);
  if (expected.back() == '\n') expected.pop_back();  // the printing program's own

  const auto checkpoint = Checkpoint::open(models / story.model);
  const auto text = TextProcessor::load(*checkpoint);
  const auto runner = ModelRunner::load(*checkpoint, {.num_threads = 2,
                                                      .isa = isa,
                                                      .max_batch_tokens = 8,
                                                      .max_sequences = 1,
                                                      .max_context = 256,
                                                      .num_blocks = 8,
                                                      .k_format = kv_format,
                                                      .v_format = kv_format});
  const std::string told = text->tokenizer().decode(greedy_tokens(*runner, text->tokenizer().bos_id().value()));
  EXPECT_EQ(told.substr(0, expected.size()), expected);
}

std::string test_name(const testing::TestParamInfo<GreedyTextTest::ParamType>& info) {
  const auto& [story, kv_format, isa] = info.param;
  const std::string folder = std::filesystem::path(story.model).parent_path();
  return folder + (kv_format == Format::kF32 ? "_F32_" : "_F16_") + isa;
}

std::vector<std::string> table_names() {
  std::vector<std::string> names;
  for (const Kernels* kernels : runnable_kernels()) names.emplace_back(kernels->name);
  return names;
}

INSTANTIATE_TEST_SUITE_P(TestData, GreedyTextTest,
                         testing::Combine(testing::ValuesIn(kStories), testing::Values(Format::kF32, Format::kF16),
                                          testing::ValuesIn(table_names())),
                         test_name);

}  // namespace
}  // namespace quire
