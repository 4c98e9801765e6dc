// The engine over the CUDA table, on a device or emulated: tokens that the device chooses are those that the host
// chooses from the same logits, and steps that are started before the last one's tokens are known change none of them.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "engine/engine.h"
#include "models/running/test_backends.h"
#include "models/running/test_models.h"

namespace quire {
namespace {

constexpr int32_t kPoison = 63;  // whose embedding is NaN in one of the models

struct Answer {
  std::vector<int32_t> tokens;
  std::vector<float> logprobs;
  std::vector<float> embedding;
  FinishReason finish = FinishReason::kNone;
  int64_t num_cached_tokens = 0;

  bool operator==(const Answer&) const = default;
};

class DeviceSampling : public testing::Test {
 protected:
  void SetUp() override {
    if (!test::has_cuda()) GTEST_SKIP() << "no CUDA device, and none emulated";
    load({});
  }

  void load(const test::TinyGguf& model) {
    engine_.reset();
    image_ = test::tiny_gguf(model);
    checkpoint_ = Checkpoint::from_gguf_bytes(test::as_bytes(image_), "tiny.gguf");
    engine_ = make_engine("cuda");
  }

  std::unique_ptr<Engine> make_engine(const std::string& table, EngineOptions engine = {}, int64_t num_blocks = 32) {
    const RunnerOptions options{.num_threads = 2,
                                .max_batch_tokens = 64,
                                .max_sequences = 8,
                                .max_context = 64,
                                .num_blocks = num_blocks,
                                .num_swap_blocks = 8};
    return std::make_unique<Engine>(ModelRunner::load(*checkpoint_, test::with_table(options, table)),
                                    std::move(engine));
  }

  // Each choice of each request, all submitted at once.
  std::vector<Answer> answers(const std::vector<GenerateRequest>& requests) {
    num_device_steps_ = num_host_steps_ = 0;
    std::vector<std::shared_ptr<OutputStream>> streams;
    for (const GenerateRequest& request : requests) streams.push_back(engine_->submit(request).stream);
    while (engine_->step()) {
      ++(engine_->runner().tokens().empty() ? num_host_steps_ : num_device_steps_);
      engine_->scheduler().check();
    }
    EXPECT_EQ(engine_->scheduler().blocks().num_active(), 0);
    std::vector<Answer> all;
    for (const auto& stream : streams) {
      for (const Answer& answer : read(*stream)) all.push_back(answer);
    }
    return all;
  }

  // What has come for each choice.
  static std::vector<Answer> read(OutputStream& stream) {
    std::map<int, Answer> choices;
    while (const auto event = stream.try_next()) {
      Answer& answer = choices[event->choice];
      if (event->has_token) {
        answer.tokens.push_back(event->token.id);
        answer.logprobs.push_back(event->token.logprob);
      }
      if (event->finish == FinishReason::kNone) continue;
      answer.finish = event->finish;
      answer.embedding = event->embedding;
      answer.num_cached_tokens = event->num_cached_tokens;
    }
    std::vector<Answer> all;
    for (const auto& [index, answer] : choices) all.push_back(answer);
    return all;
  }

  std::string image_;
  std::unique_ptr<Checkpoint> checkpoint_;
  std::unique_ptr<Engine> engine_;
  int num_device_steps_ = 0;
  int num_host_steps_ = 0;  // or steps that want no token
};

GenerateRequest request(int index, const SamplingParams& params) {
  GenerateRequest out;
  for (int i = 0; i < 3 + index % 5; ++i) out.prompt.push_back((index * 31 + i * 17) % kPoison);
  out.max_tokens = 12;
  out.sampling = params;
  out.sampling.seed = 100 + index;
  return out;
}

SamplingParams sampling(float temperature, int32_t top_k, float top_p, float min_p) {
  SamplingParams params;
  params.temperature = temperature;
  params.top_k = top_k;
  params.top_p = top_p;
  params.min_p = min_p;
  return params;
}

std::vector<GenerateRequest> plain_requests() {
  std::vector<GenerateRequest> all;
  for (const SamplingParams& params :
       {sampling(0.0f, 0, 1.0f, 0.0f), sampling(1.0f, 0, 1.0f, 0.0f), sampling(1.5f, 8, 1.0f, 0.0f),
        sampling(1.0f, 0, 0.8f, 0.0f), sampling(2.0f, 0, 1.0f, 0.05f), sampling(0.8f, 40, 0.95f, 0.02f)}) {
    all.push_back(request(static_cast<int>(all.size()), params));
  }
  return all;
}

// A bias of nothing takes the logits to the host and changes none.
std::vector<GenerateRequest> on_host(std::vector<GenerateRequest> requests) {
  for (GenerateRequest& request : requests) request.sampling.logit_bias.emplace_back(0, 0.0f);
  return requests;
}

TEST_F(DeviceSampling, ChoosesTheSameTokensAsTheHost) {
  const std::vector<GenerateRequest> requests = plain_requests();
  const std::vector<Answer> expected = answers(on_host(requests));
  EXPECT_EQ(num_device_steps_, 0);
  const std::vector<Answer> given = answers(requests);
  EXPECT_EQ(num_host_steps_, 0);
  EXPECT_GE(num_device_steps_, 12);
  EXPECT_EQ(given, expected);
  for (const Answer& answer : given) EXPECT_EQ(answer.tokens.size(), 12u);
  EXPECT_EQ(answers({requests[1]}), std::vector{expected[1]}) << "alone";
}

// A request that needs logits moves the whole step to the host while it runs; no answer changes.
TEST_F(DeviceSampling, RequestsThatNeedTheHostChangeNoAnswer) {
  std::vector<GenerateRequest> requests = plain_requests();
  std::vector<Answer> expected;
  const auto add = [&](int index, auto change) {
    GenerateRequest more = request(index, {});
    more.max_tokens = 4;
    change(more);
    requests.push_back(more);
  };
  add(6, [](GenerateRequest& r) { r.sampling.num_logprobs = 1; });
  add(7, [](GenerateRequest& r) { r.sampling.repetition_penalty = 1.3f; });
  add(8, [](GenerateRequest& r) { r.sampling.typical_p = 0.5f; });
  add(9, [](GenerateRequest& r) { r.num_choices = 2; });
  add(10, [](GenerateRequest& r) { r.num_prompt_logprobs = 0; });
  add(11, [](GenerateRequest& r) { r.pooling = Pooling::kMean; });
  add(12, [](GenerateRequest& r) { r.max_tokens = 0; });
  add(13, [](GenerateRequest& r) { r.sampling.min_tokens = 2; });
  for (const GenerateRequest& alone : requests) {
    for (const Answer& answer : answers({alone})) expected.push_back(answer);
  }
  EXPECT_EQ(answers(requests), expected);
  EXPECT_GT(num_device_steps_, 0);
  EXPECT_GT(num_host_steps_, 0);
  answers({requests[13]});
  EXPECT_EQ(num_host_steps_, 2) << "of a request with a minimum of 2 tokens";
  EXPECT_EQ(num_device_steps_, 2);
}

// An embedding takes no token, so those beside it may still be chosen on the device.
TEST_F(DeviceSampling, EmbeddingsAndTokensInOneStep) {
  GenerateRequest embedding = request(1, {});
  embedding.pooling = Pooling::kMean;
  const std::vector<GenerateRequest> requests = {request(0, {}), embedding, request(2, {})};
  std::vector<Answer> expected;
  for (const GenerateRequest& alone : requests) expected.push_back(answers({alone})[0]);
  EXPECT_EQ(answers(requests), expected);
  EXPECT_EQ(num_host_steps_, 0);
  EXPECT_FALSE(expected[1].embedding.empty());
}

// Where dividing by the temperature gives no finite result, sampling is greedy; other requests are unaffected.
TEST_F(DeviceSampling, TinyTemperaturesAreGreedy) {
  std::vector<GenerateRequest> requests = {request(0, sampling(0.0f, 0, 1.0f, 0.0f)),
                                           request(1, sampling(1.0f, 0, 0.9f, 0.0f))};
  const std::vector<Answer> expected = answers(requests);
  for (const float temperature : {1e-45f, 1e-39f, 1e-38f, 9e-6f}) {
    requests[0].sampling = sampling(temperature, 5, 0.9f, 0.1f);
    for (const bool host : {false, true}) {
      EXPECT_EQ(answers(host ? on_host(requests) : requests), expected) << temperature;
      EXPECT_EQ(num_device_steps_ == 0, host);
    }
  }
}

// Rows of a prompt are reported though nothing is sampled from them.
TEST_F(DeviceSampling, NanInPromptLogprobsFailsItsRequestOnly) {
  load({.poisoned_token = kPoison});
  std::vector<GenerateRequest> requests;
  for (int index = 0; index < 2; ++index) {
    GenerateRequest& asked = requests.emplace_back(request(index, {}));
    asked.max_tokens = 0;
    asked.num_prompt_logprobs = 2;
  }
  requests[1].prompt[1] = kPoison;
  const std::vector<Answer> given = answers(requests);
  EXPECT_EQ(given[0].finish, FinishReason::kLength);
  EXPECT_EQ(given[1].finish, FinishReason::kError);
  EXPECT_EQ(engine_->status().num_failed, 1);
}

// A request that draws the poisoned token fails too, one step later.
TEST_F(DeviceSampling, NanFailsItsRequestOnly) {
  load({.poisoned_token = kPoison});
  std::vector<GenerateRequest> requests = plain_requests();
  const std::vector<Answer> expected = answers(requests);
  requests[2].prompt[1] = kPoison;
  for (const bool host : {false, true}) {
    const std::vector<Answer> given = answers(host ? on_host(requests) : requests);
    EXPECT_EQ(num_device_steps_ == 0, host);
    for (size_t i = 0; i < requests.size(); ++i) {
      if (i == 2) {
        EXPECT_EQ(given[i].finish, FinishReason::kError);
        EXPECT_TRUE(given[i].tokens.empty());
      } else {
        EXPECT_EQ(given[i], expected[i]) << i;
      }
    }
  }
  EXPECT_GE(engine_->status().num_failed, 2);
  EXPECT_TRUE(std::ranges::any_of(expected, [](const Answer& a) { return a.finish == FinishReason::kLength; }));
  EXPECT_EQ(engine_->scheduler().blocks().num_active(), 0);
}

TEST_F(DeviceSampling, StopTokensAndCancellation) {
  GenerateRequest asked = request(3, {});
  const Answer whole = answers({asked})[0];
  asked.stop_token_ids = {whole.tokens[5]};
  const auto first = std::find(whole.tokens.begin(), whole.tokens.end(), whole.tokens[5]);
  const Answer stopped = answers({asked})[0];
  EXPECT_EQ(stopped.finish, FinishReason::kStop);
  EXPECT_EQ(stopped.tokens, std::vector(whole.tokens.begin(), first + 1));

  const auto cancelled = engine_->submit(request(4, {})).stream;
  const auto other = engine_->submit(request(3, {})).stream;
  for (int i = 0; i < 4; ++i) engine_->step();
  cancelled->cancel();
  std::vector<int32_t> tokens;
  while (engine_->step()) {
  }
  while (const auto event = other->try_next()) {
    if (event->has_token) tokens.push_back(event->token.id);
  }
  EXPECT_EQ(tokens, whole.tokens);
  EXPECT_EQ(engine_->status().num_cancelled, 1);
  EXPECT_EQ(engine_->scheduler().blocks().num_active(), 0);
}

TEST_F(DeviceSampling, HostTablesUseTheSampler) {
  for (const std::string& name : test::table_names()) {
    EXPECT_EQ(make_engine(name)->runner().can_sample(), name == "cuda") << name;
  }
}

// ---- running ahead --------------------------------------------------------------------------------------------------

// Requests that end, fork or need the host, at various lengths.
std::vector<GenerateRequest> mixed_requests() {
  std::vector<GenerateRequest> all = plain_requests();
  for (size_t i = 0; i < all.size(); ++i) all[i].max_tokens = 6 + static_cast<int64_t>(7 * i % 30);
  const auto add = [&](int index, auto change) {
    GenerateRequest more = request(index, {});
    more.max_tokens = 20;
    change(more);
    all.push_back(more);
  };
  for (int i = 0; i < 4; ++i) {  // of 64 tokens one in four stops
    add(20 + i, [](GenerateRequest& r) {
      for (int32_t id = 0; id < 64; id += 4) r.stop_token_ids.push_back(id);
    });
  }
  add(6, [](GenerateRequest& r) { r.num_choices = 3; });
  add(7, [](GenerateRequest& r) { r.sampling.min_tokens = 5; });
  add(8, [](GenerateRequest& r) { r.max_tokens = 0; });
  add(9, [](GenerateRequest& r) { r.max_tokens = 1; });
  add(10, [](GenerateRequest& r) { r.pooling = Pooling::kMean; });
  add(11, [](GenerateRequest& r) {
    r.sampling.num_logprobs = 0;
    r.max_tokens = 2;
  });
  add(12, [](GenerateRequest& r) { r.prompt.assign(40, 3); });
  return all;
}

TEST_F(DeviceSampling, RunningAheadChangesNoAnswer) {
  const std::vector<GenerateRequest> requests = mixed_requests();
  const auto with = [&](bool run_ahead, int64_t num_blocks, Preemption preemption) {
    EngineOptions options{.run_ahead = run_ahead};
    options.scheduler.preemption = preemption;
    engine_ = make_engine("cuda", options, num_blocks);
    return answers(requests);
  };
  const std::vector<Answer> expected = with(false, 32, Preemption::kRecompute);
  EXPECT_EQ(with(true, 32, Preemption::kRecompute), expected);
  EXPECT_GT(num_device_steps_, num_host_steps_);
  for (const Preemption preemption : {Preemption::kRecompute, Preemption::kSwap}) {
    std::vector<Answer> short_of_blocks = with(true, 4, preemption);
    EXPECT_GT(engine_->status().num_preemptions, 0);
    EXPECT_EQ(engine_->status().num_swaps > 0, preemption == Preemption::kSwap);
    for (Answer& answer : short_of_blocks) answer.num_cached_tokens = 0;  // hits depend on what is cached
    std::vector<Answer> all = expected;
    for (Answer& answer : all) answer.num_cached_tokens = 0;
    EXPECT_EQ(short_of_blocks, all);
  }
}

// A sequence that ends by a token has one row in the step that was started meanwhile; one that ends by length has none.
TEST_F(DeviceSampling, OnlyStopTokensWasteARow) {
  GenerateRequest asked = request(3, {});
  const Answer whole = answers({asked})[0];
  const auto computed_for = [&](bool run_ahead) {
    engine_ = make_engine("cuda", {.run_ahead = run_ahead});
    answers({asked});
    return engine_->status().computed_tokens;
  };
  const auto num_prompt = static_cast<int64_t>(asked.prompt.size());
  EXPECT_EQ(computed_for(true), num_prompt + 11);
  EXPECT_EQ(computed_for(false), num_prompt + 11);
  asked.stop_token_ids = {whole.tokens[5]};
  const int64_t num_tokens = std::ranges::find(whole.tokens, whole.tokens[5]) - whole.tokens.begin() + 1;
  EXPECT_EQ(computed_for(false), num_prompt + num_tokens - 1);
  EXPECT_EQ(computed_for(true), num_prompt + num_tokens);
}

// Cancelled, as by a stop string, after any of its tokens: it produces nothing more, and other requests are unaffected.
TEST_F(DeviceSampling, CancellationDuringTheNextStep) {
  const std::vector<GenerateRequest> requests = plain_requests();
  const std::vector<Answer> expected = answers(requests);
  for (size_t after = 0; after < 12; after += 3) {
    std::vector<std::shared_ptr<OutputStream>> streams;
    for (const GenerateRequest& asked : requests) streams.push_back(engine_->submit(asked).stream);
    while (streams[2]->num_unread() < after && engine_->step()) {
    }
    streams[2]->cancel();
    while (engine_->step()) engine_->scheduler().check();
    for (size_t i = 0; i < requests.size(); ++i) {
      const Answer given = read(*streams[i])[0];
      if (i != 2) {
        EXPECT_EQ(given, expected[i]) << i;
        continue;
      }
      EXPECT_EQ(given.finish, FinishReason::kCancelled);
      const auto end = expected[2].tokens.begin() + static_cast<int64_t>(after);
      EXPECT_EQ(given.tokens, std::vector<int32_t>(expected[2].tokens.begin(), end));
    }
    EXPECT_EQ(engine_->scheduler().blocks().num_active(), 0);
  }
}

TEST_F(DeviceSampling, TimeoutDuringTheNextStep) {
  double now = 0.0;
  engine_ = make_engine("cuda", {.now_ms = [&now] { return now; }});
  GenerateRequest asked = request(3, {});
  const Answer whole = answers({asked})[0];
  asked.timeout_ms = 4.5;
  const auto stream = engine_->submit(asked).stream;
  while (engine_->step()) now += 1.0;
  const Answer given = read(*stream)[0];
  EXPECT_EQ(given.finish, FinishReason::kTimeout);
  EXPECT_EQ(given.tokens, std::vector<int32_t>(whole.tokens.begin(), whole.tokens.begin() + 5));
}

// Blocks filled while steps are started ahead are found in the prefix cache, up to the answer's end and no further.
TEST_F(DeviceSampling, AnswersArePublishedToThePrefixCache) {
  GenerateRequest first = request(3, {});
  first.prompt.assign(20, 7);
  first.max_tokens = 30;
  first.cache_salt = "a";
  const auto turn = [&](bool run_ahead) {
    engine_ = make_engine("cuda", {.run_ahead = run_ahead});
    GenerateRequest next = first;
    const Answer answer = answers({first})[0];
    next.prompt.insert(next.prompt.end(), answer.tokens.begin(), answer.tokens.end() - 1);
    next.prompt.push_back(9);
    next.max_tokens = 10;
    return answers({next})[0];
  };
  const Answer expected = turn(false);
  EXPECT_EQ(expected.num_cached_tokens, 32);
  EXPECT_EQ(turn(true), expected);
}

}  // namespace
}  // namespace quire
