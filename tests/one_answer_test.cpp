// One answer: a sequence's logits have the same bits in any batch, with its prompt cut into any chunks, with its blocks
// anywhere, with the blocks before its windows kept or freed, and with any number of threads, for every kernel table
// this machine runs.
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "models/loading/checkpoint.h"
#include "models/running/model_runner.h"
#include "models/running/test_backends.h"
#include "runner_driver.h"

namespace quire {
namespace {

using test::BlockPool;
using test::Slice;
using test::TestSequence;

constexpr int kOthers = 31;
constexpr int64_t kTokens = 75;
constexpr int64_t kBlocks = 128;

struct Subject {
  const char* checkpoint;  // under tests/golden
  Format kv_format;
};

const Subject kSubjects[] = {
    {"llama3-gqa-tied", Format::kF32},
    {"gemma2", Format::kF16},          // windows and softcaps
    {"gemma3", Format::kF16},          // more windows than full layers
    {"mistral-window", Format::kF16},  // nothing but windows
    {"phi3-window", Format::kQ8_0},
    {"qwen3moe", Format::kF16},          // routing
    {"llama3-gqa-tied", Format::kQ8_0},  // a quantised cache
    {"gemma2", Format::kQ4_0},
    {"gemma2", Format::kF8_E4M3},
    {"llama-blocks/model.gguf", Format::kF32}  // block formats, quantised activations
};

std::vector<int32_t> random_tokens(int64_t count, uint32_t seed) {
  std::mt19937 rng(seed);
  std::vector<int32_t> tokens(static_cast<size_t>(count));
  for (int32_t& token : tokens) token = static_cast<int32_t>(rng() % 96);
  return tokens;
}

// Feeds the subject in slices of `chunk`, in a batch with `others` sequences that come and go in other slices; the
// subject's place in the batch changes from step to step. Returns the logits of all its positions. `gives_back`: blocks
// before a window go to others, whose K and V overwrite them.
std::vector<float> run_in_company(ModelRunner& runner, int64_t chunk, int others, uint32_t seed,
                                  bool gives_back = true) {
  std::mt19937 rng(seed + 1);
  BlockPool pool(runner, seed, gives_back);
  TestSequence subject(random_tokens(kTokens, 5), pool);
  std::vector<TestSequence> company;
  for (int i = 0; i < others; ++i) company.emplace_back(random_tokens(20 + rng() % 60, 100 + i), pool);

  const int64_t vocab_size = runner.info().vocab_size;
  std::vector<float> logits;
  while (!subject.done()) {
    std::vector<Slice> slices;
    size_t row = 0;  // of the subject's first
    const auto place = others == 0 ? 0 : static_cast<int>(rng() % others);
    const auto add_subject = [&] {
      for (const Slice& slice : slices) row += static_cast<size_t>(slice.num_tokens);
      slices.push_back({&subject, std::min(chunk, kTokens - subject.fed)});
    };
    for (int i = 0; i < others; ++i) {
      if (i == place) add_subject();
      const auto left = static_cast<int64_t>(company[i].tokens.size()) - company[i].fed;
      const int64_t wanted = rng() % 3 == 0 ? 1 + static_cast<int64_t>(rng() % 12) : 1;
      if (left > 0) slices.push_back({&company[i], std::min(left, wanted)});
    }
    if (others == 0) add_subject();
    const size_t count = static_cast<size_t>(std::min(chunk, kTokens - subject.fed) * vocab_size);
    const std::span<const float> rows = step(runner, slices).subspan(row * vocab_size, count);
    logits.insert(logits.end(), rows.begin(), rows.end());
  }
  return logits;
}

// Every number of threads, chunk size and number of other sequences, and every pair of the last two.
struct Variation {
  int threads;
  int others;
  int64_t chunk;
};
const Variation kVariations[] = {{1, 0, 7},       {1, kOthers, kTokens}, {2, 0, 64}, {2, kOthers, 7}, {3, 0, 1},
                                 {3, 0, kTokens}, {3, kOthers, 64},      {4, 0, 7},  {4, kOthers, 1}, {4, kOthers, 64}};

class OneAnswerTest : public testing::TestWithParam<std::tuple<Subject, std::string>> {};

TEST_P(OneAnswerTest, SameBits) {
  const auto& [subject, isa] = GetParam();
  const auto checkpoint =
      Checkpoint::open(std::filesystem::path(QUIRE_SOURCE_DIR) / "tests" / "golden" / subject.checkpoint);
  const auto load = [&](int threads) {
    const RunnerOptions options{.num_threads = threads,
                                .max_batch_tokens = 512,
                                .max_sequences = kOthers + 1,
                                .max_context = 96,
                                .num_blocks = kBlocks,
                                .k_format = subject.kv_format,
                                .v_format = subject.kv_format};
    return ModelRunner::load(*checkpoint, test::with_table(options, isa));
  };
  auto runner = load(1);
  const std::vector<float> expected = run_in_company(*runner, kTokens, 0, 0, /*gives_back=*/false);
  for (const Variation& run : kVariations) {
    if (isa == "cuda" && run.threads != 2) continue;  // the host's threads do not compute there
    if (runner->options().num_threads != run.threads) runner = load(run.threads);
    const auto seed = static_cast<uint32_t>(run.chunk + run.threads);
    const std::vector<float> logits = run_in_company(*runner, run.chunk, run.others, seed);
    ASSERT_EQ(logits.size(), expected.size());
    EXPECT_EQ(std::memcmp(logits.data(), expected.data(), expected.size() * sizeof(float)), 0)
        << run.threads << " threads, " << run.others << " others, slices of " << run.chunk;
  }
}

std::string test_name(const testing::TestParamInfo<OneAnswerTest::ParamType>& info) {
  const auto& [subject, isa] = info.param;
  std::string name = std::string(subject.checkpoint) + "_" + weight_format(subject.kv_format).name + "_" + isa;
  for (char& c : name) {
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  }
  return name;
}

INSTANTIATE_TEST_SUITE_P(Runner, OneAnswerTest,
                         testing::Combine(testing::ValuesIn(kSubjects), testing::ValuesIn(test::table_names())),
                         test_name);

// Formats of codes and of floats.
INSTANTIATE_TEST_SUITE_P(Activations, OneAnswerTest,
                         testing::Combine(testing::Values(Subject{"llama-blocks/model.gguf", Format::kF32},
                                                          Subject{"qwen3moe", Format::kF16}),
                                          testing::ValuesIn(test::table_names_with_activations())),
                         test_name);

}  // namespace
}  // namespace quire
