// Beam search over real (tiny) models: the beams share and copy KV blocks, lose them and compute them again, and the
// answers are those of a search that computes every beginning from its start.
#include <gtest/gtest.h>

#include <map>
#include <string>

#include "base/error.h"
#include "engine/engine.h"
#include "engine/outputs/generated_tokens.h"
#include "engine/test_beams.h"
#include "models/running/test_models.h"

namespace quire {
namespace {

constexpr int32_t kVocab = 96;

struct Setting {
  std::string name;
  int64_t max_sequences = 8;
  int64_t max_batch_tokens = 128;
  int64_t num_blocks = 64;
  int64_t num_swap_blocks = 0;
};

struct Choice {
  std::vector<int32_t> tokens;
  double logprob = 0.0;
  FinishReason finish = FinishReason::kNone;
  int64_t num_preemptions = 0;
};

GenerateRequest request(int index) {
  GenerateRequest out;
  for (int i = 0; i < 20 + 7 * index; ++i) out.prompt.push_back((index * 31 + i * 17) % kVocab);
  out.max_tokens = 9 + 8 * index;
  out.eog_ids = {5, 60, 61};
  if (index % 2 == 1) out.stop_token_ids = {17, 18, 19, 20};
  out.beam = {.width = 2 + index % 3, .length_penalty = 1.0f - 0.5f * static_cast<float>(index % 2)};
  out.beam.early_stopping = index % 4 == 3;
  out.num_choices = out.beam.width;
  out.sampling.num_logprobs = 0;
  return out;
}

class BeamTest : public testing::Test {
 protected:
  std::unique_ptr<Engine> make_engine(const Setting& setting) {
    RunnerOptions runner;
    runner.num_threads = 2;
    runner.max_sequences = setting.max_sequences;
    runner.max_batch_tokens = setting.max_batch_tokens;
    runner.max_context = 128;
    runner.num_blocks = setting.num_blocks;
    runner.num_swap_blocks = setting.num_swap_blocks;
    EngineOptions options;
    options.scheduler.preemption = setting.num_swap_blocks > 0 ? Preemption::kSwap : Preemption::kRecompute;
    return std::make_unique<Engine>(ModelRunner::load(*checkpoint_, runner), std::move(options));
  }

  static void run(Engine& engine) {
    while (engine.step()) engine.scheduler().check();
    EXPECT_EQ(engine.scheduler().blocks().num_active(), 0);
  }

  static std::vector<Choice> read(OutputStream& stream) {
    std::map<int, Choice> choices;
    while (const auto event = stream.try_next()) {
      Choice& choice = choices[event->choice];
      EXPECT_EQ(choice.finish, FinishReason::kNone);
      if (event->has_token) choice.tokens.push_back(event->token.id);
      if (event->has_token) choice.logprob += static_cast<double>(event->token.logprob);
      choice.finish = event->finish;
      choice.num_preemptions = event->num_preemptions;
    }
    EXPECT_TRUE(stream.is_drained());
    std::vector<Choice> all;
    for (const auto& [index, choice] : choices) all.push_back(choice);
    return all;
  }

  // Each token asked for alone, from the beginning.
  std::vector<test::PlainAnswer> plain(const GenerateRequest& asked) {
    auto engine = make_engine({.name = "alone", .max_sequences = 1});
    const auto next = [&](const std::vector<int32_t>& tokens) {
      GenerateRequest one;
      one.prompt = asked.prompt;
      one.prompt.insert(one.prompt.end(), tokens.begin(), tokens.end());
      one.max_tokens = 1;
      one.shares_cache = false;
      one.sampling.num_logprobs = 2 * asked.beam.width;
      const auto stream = engine->submit(one).stream;
      run(*engine);
      return stream->try_next()->token.top;
    };
    return test::plain_beam_search(
        asked.beam, asked.max_tokens, [&](int32_t token) { return is_stop(asked, token); }, next);
  }

  static void expect_equal(const std::vector<Choice>& given, const std::vector<test::PlainAnswer>& expected,
                           const std::string& what) {
    ASSERT_EQ(given.size(), expected.size()) << what;
    for (size_t i = 0; i < given.size(); ++i) {
      EXPECT_EQ(given[i].tokens, expected[i].tokens) << what << ", answer " << i;
      EXPECT_EQ(given[i].logprob, expected[i].logprob) << what << ", answer " << i;
      EXPECT_EQ(given[i].finish, expected[i].is_stopped ? FinishReason::kStop : FinishReason::kLength) << what;
    }
  }

  void expect_plain(const std::vector<Setting>& settings) {
    std::vector<GenerateRequest> asked;
    std::vector<std::vector<test::PlainAnswer>> expected;
    for (int i = 0; i < 4; ++i) expected.push_back(plain(asked.emplace_back(request(i))));
    for (const Setting& setting : settings) {
      auto engine = make_engine(setting);
      for (const bool is_cached : {false, true}) {
        std::vector<std::shared_ptr<OutputStream>> streams;
        for (const GenerateRequest& one : asked) streams.push_back(engine->submit(one).stream);
        // Sequences that are no beams run among them.
        GenerateRequest other = request(5);
        other.beam = {};
        other.num_choices = 2;
        const auto between = engine->submit(other).stream;
        run(*engine);
        for (size_t i = 0; i < asked.size(); ++i) {
          expect_equal(read(*streams[i]), expected[i],
                       setting.name + ", request " + std::to_string(i) + (is_cached ? ", cached" : ""));
        }
        EXPECT_EQ(read(*between).size(), 2u);
      }
      EXPECT_EQ(engine->status().num_preemptions > 0, setting.num_blocks < 20) << setting.name;
    }
  }

  std::unique_ptr<Checkpoint> checkpoint_ = Checkpoint::open(QUIRE_SOURCE_DIR "/tests/golden/llama3-gqa-tied");
};

TEST_F(BeamTest, IsThePlainSearch) {
  expect_plain({{.name = "a batch of 8"},
                {.name = "as many places as beams", .max_sequences = 4},
                {.name = "short chunks", .max_batch_tokens = 9},
                {.name = "preempted by recompute", .num_blocks = 8},
                {.name = "no room for two beams", .num_blocks = 4},
                {.name = "preempted by swap", .num_blocks = 8, .num_swap_blocks = 32}});
}

TEST_F(BeamTest, WithWindows) {
  checkpoint_ = Checkpoint::open(QUIRE_SOURCE_DIR "/tests/golden/gemma2");
  expect_plain({{.name = "a batch of 8"}});
}

// Beams that pass the switch are computed again.
TEST_F(BeamTest, WithTheRopeSwitch) {
  checkpoint_ = Checkpoint::open(QUIRE_SOURCE_DIR "/tests/golden/phi3-longrope");
  expect_plain({{.name = "a batch of 8"}});
}

TEST_F(BeamTest, TheBestAndFewerThanBeams) {
  GenerateRequest asked = request(2);
  auto engine = make_engine({.name = "a batch of 8"});
  const auto expected = plain(asked);
  asked.num_choices = 1;
  const auto stream = engine->submit(asked).stream;
  run(*engine);
  expect_equal(read(*stream), {expected[0]}, "the best");
}

TEST_F(BeamTest, EndsWithItsReader) {
  auto engine = make_engine({.name = "a batch of 8"});
  for (const int num_steps : {0, 1, 5}) {
    GenerateRequest asked = request(2);
    asked.num_choices = 3;
    const auto stream = engine->submit(asked).stream;
    for (int i = 0; i < num_steps; ++i) engine->step();
    stream->cancel();
    run(*engine);
    const std::vector<Choice> given = read(*stream);
    ASSERT_EQ(given.size(), 3u);
    for (const Choice& choice : given) EXPECT_EQ(choice.finish, FinishReason::kCancelled);
  }
}

// So wide that a beam takes the token whose embedding is NaN: the others are computed in the same step.
TEST_F(BeamTest, ASearchWhoseBeamFailsEndsOnce) {
  constexpr int32_t kPoison = 63;  // the last token of the model
  const std::string image = test::tiny_gguf({.poisoned_token = kPoison});
  checkpoint_ = Checkpoint::from_gguf_bytes(test::as_bytes(image), "tiny.gguf");
  auto engine = make_engine({.name = "all tokens", .max_sequences = 64});
  GenerateRequest asked;
  asked.prompt = {1, 2, 3};
  asked.max_tokens = 6;
  asked.beam.width = 60;
  asked.num_choices = 2;
  GenerateRequest other;
  other.prompt = {4, 5};
  other.max_tokens = 6;
  const auto stream = engine->submit(asked).stream;
  const auto beside = engine->submit(other).stream;
  run(*engine);
  const std::vector<Choice> given = read(*stream);
  ASSERT_EQ(given.size(), 2u);
  for (const Choice& choice : given) EXPECT_EQ(choice.finish, FinishReason::kError);
  EXPECT_EQ(read(*beside)[0].finish, FinishReason::kLength);
}

TEST_F(BeamTest, RefusesWhatItCannotDo) {
  auto engine = make_engine({.name = "a batch of 8"});
  const auto refused = [&](const std::function<void(GenerateRequest&)>& change) {
    GenerateRequest asked = request(2);
    change(asked);
    EXPECT_THROW(engine->submit(asked), Error);
  };
  refused([](auto& asked) { asked.beam.width = 9; });
  refused([](auto& asked) { asked.num_choices = 5; });
  refused([](auto& asked) { asked.num_prompt_logprobs = 0; });
  refused([](auto& asked) { asked.prediction = {1, 2}; });
  refused([](auto& asked) { asked.max_tokens = 0; });
}

}  // namespace
}  // namespace quire
