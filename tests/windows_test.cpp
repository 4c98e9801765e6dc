// Sequences that keep only the windows of their layers, in the engine: the answers are those of a cache that keeps
// everything, bit for bit, alone, among others, in chunks, from cached prefixes, after preemption and out of swap
// space. Windows of these models are 9 to 24 positions, blocks 32, texts up to 120.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "engine/engine.h"

namespace quire {
namespace {

constexpr int kRequests = 10;

// All that a client may learn of a request's logits.
struct Answer {
  std::vector<int32_t> tokens;
  std::vector<float> logprobs;  // of the tokens, of the likeliest beside them, and of those of the prompt
  int64_t num_cached_tokens = 0;
};

struct Setting {
  const char* name;
  int64_t max_sequences = 1;
  int64_t max_batch_tokens = 128;
  int64_t num_blocks = 64;
  int64_t num_swap_blocks = 0;
  bool prefix_caching = true;
  bool keep_all_positions = false;
};

class WindowsTest : public testing::TestWithParam<std::string> {
 protected:
  std::unique_ptr<Engine> make_engine(const Setting& setting) const {
    RunnerOptions runner;
    runner.num_threads = 2;
    runner.max_sequences = setting.max_sequences;
    runner.max_batch_tokens = setting.max_batch_tokens;
    runner.max_context = 128;
    runner.num_blocks = setting.num_blocks;
    runner.num_swap_blocks = setting.num_swap_blocks;
    runner.keep_all_positions = setting.keep_all_positions;
    EngineOptions options;
    options.scheduler.prefix_caching = setting.prefix_caching;
    options.scheduler.preemption = Preemption::kSwap;
    return std::make_unique<Engine>(ModelRunner::load(*checkpoint_, runner), std::move(options));
  }

  static GenerateRequest request(int index) {
    GenerateRequest out;
    const int length = index == 8 ? 93 : 40 + 5 * index;
    for (int i = 0; i < length; ++i) out.prompt.push_back((i < 64 ? i * 13 : index * 31 + i * 17) % 96);
    out.max_tokens = index == 8 ? 30 : 40;
    out.sampling.temperature = index % 3 == 0 ? 0.0f : 10.0f;  // the logits of these models are far apart
    out.sampling.seed = 100 + index;
    out.sampling.num_logprobs = 5;
    if (index % 5 == 4) out.num_prompt_logprobs = 5;
    return out;
  }

  static void add(const SampledToken& token, Answer& answer) {
    answer.logprobs.push_back(token.logprob);
    for (const auto& other : token.top) answer.logprobs.push_back(other.logprob);
  }
  static void drain(OutputStream& stream, Answer& answer) {
    while (const auto event = stream.try_next()) {
      for (const SampledToken& token : event->prompt_logprobs) add(token, answer);
      if (event->has_token) {
        answer.tokens.push_back(event->token.id);
        add(event->token, answer);
      }
      if (event->finish != FinishReason::kNone) answer.num_cached_tokens = event->num_cached_tokens;
    }
  }

  static std::vector<Answer> answers(Engine& engine) {
    std::vector<std::shared_ptr<OutputStream>> streams;
    for (int i = 0; i < kRequests; ++i) streams.push_back(engine.submit(request(i)).stream);
    std::vector<Answer> given(kRequests);
    while (engine.step()) {
      engine.scheduler().check();
      for (size_t i = 0; i < given.size(); ++i) drain(*streams[i], given[i]);
    }
    return given;
  }

  static void expect_same(const std::vector<Answer>& given, const std::vector<Answer>& expected, const char* setting) {
    for (size_t i = 0; i < given.size(); ++i) {
      EXPECT_EQ(given[i].tokens, expected[i].tokens) << setting << ", request " << i;
      EXPECT_EQ(given[i].logprobs, expected[i].logprobs) << setting << ", request " << i;
    }
  }

  std::unique_ptr<Checkpoint> checkpoint_ =
      Checkpoint::open(std::string(QUIRE_SOURCE_DIR) + "/tests/golden/" + GetParam());
};

TEST_P(WindowsTest, AnswersEqualThoseOfAFullCache) {
  auto full = make_engine({.name = "full", .prefix_caching = false, .keep_all_positions = true});
  ASSERT_EQ(full->runner().plan().kv_groups.size(), 1u);
  const std::vector<Answer> expected = answers(*full);
  for (const Answer& answer : expected) ASSERT_GE(answer.tokens.size(), 30u);
  int64_t num_preemptions = 0;
  int64_t num_swaps = 0;
  for (const Setting& setting :
       {Setting{.name = "alone", .prefix_caching = false},
        Setting{.name = "batched", .max_sequences = 10, .max_batch_tokens = 512, .prefix_caching = false},
        Setting{.name = "chunked", .max_sequences = 4, .max_batch_tokens = 5, .prefix_caching = false},
        Setting{.name = "cached", .max_sequences = 3, .max_batch_tokens = 40},
        Setting{.name = "preempted", .max_sequences = 8, .max_batch_tokens = 16, .num_blocks = 7},
        Setting{.name = "swapped",
        .max_sequences = 8,
        .max_batch_tokens = 16,
        .num_blocks = 7,
        .num_swap_blocks = 16,
        .prefix_caching = false}}) {
    auto engine = make_engine(setting);
    EXPECT_GT(engine->runner().plan().kv_groups.back().window, 0);
    expect_same(answers(*engine), expected, setting.name);
    num_preemptions += engine->status().num_preemptions;
    num_swaps += engine->status().num_swaps;
    for (size_t g = 0; g < engine->scheduler().kv().num_groups(); ++g) {
      EXPECT_EQ(engine->scheduler().kv().blocks(g).num_active(), 0) << setting.name << ", group " << g;
    }
  }
  // Those that have nothing but windows need too little.
  const bool has_full_layers = make_engine({.name = ""})->runner().plan().kv_groups.front().window == 0;
  EXPECT_EQ(num_preemptions > 0, has_full_layers);
  EXPECT_EQ(num_swaps > 0, has_full_layers);
}

// The second time most of a prompt comes from the cache, blocks of full layers and of windows.
TEST_P(WindowsTest, ACachedPrefixGivesTheSameBits) {
  auto engine = make_engine({.name = "cached"});
  const std::vector<Answer> first = answers(*engine);
  const std::vector<Answer> second = answers(*engine);
  expect_same(second, first, "cached");
  EXPECT_EQ(second[8].num_cached_tokens, 64);
}

INSTANTIATE_TEST_SUITE_P(Models, WindowsTest,
                         testing::Values("gemma3", "gemma2/model.gguf", "mistral-window", "phi3-window"),
                         [](const auto& tested) {
                           std::string name = tested.param;
                           for (char& c : name) {
                             if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
                           }
                           return name;
                         });

}  // namespace
}  // namespace quire
