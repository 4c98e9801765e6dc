// The engine over a real (tiny) model: a request's result must not depend on the batch, on its chunks or on preemption.

#include "engine/engine.h"

#include <gtest/gtest.h>

#include <limits>
#include <map>
#include <thread>

#include "base/error.h"
#include "engine/simulated_store.h"

namespace quire {
namespace {

const char* const kModel = QUIRE_SOURCE_DIR "/tests/golden/llama3-gqa-tied";

class EngineTest : public testing::Test {
 protected:
  std::unique_ptr<Engine> make_engine(int64_t max_sequences, int64_t max_batch_tokens, int64_t num_blocks,
                                      EngineOptions options = {}, int64_t num_swap_blocks = 0) {
    RunnerOptions runner;
    runner.num_threads = 2;
    runner.max_sequences = max_sequences;
    runner.max_batch_tokens = max_batch_tokens;
    runner.max_context = 128;
    runner.num_blocks = num_blocks;
    runner.num_swap_blocks = num_swap_blocks;
    return std::make_unique<Engine>(ModelRunner::load(*checkpoint_, runner), std::move(options));
  }

  static GenerateRequest request(int index, int64_t max_tokens = 40) {
    GenerateRequest out;
    for (int i = 0; i < 5 + 7 * (index % 9); ++i) out.prompt.push_back((index * 31 + i * 17) % 96);
    out.max_tokens = max_tokens;
    out.sampling.temperature = index % 3 == 0 ? 0.0f : 10.0f;  // the logits of this model are far apart
    out.sampling.seed = 100 + index;
    return out;
  }

  struct Answer {
    std::vector<int32_t> tokens;
    std::vector<float> logprobs;
    FinishReason finish = FinishReason::kNone;
    OutputEvent last;
    std::vector<SampledToken> prompt_logprobs;
  };

  static void drain(OutputStream& stream, std::map<int, Answer>& answers) {
    while (const auto event = stream.try_next()) {
      Answer& answer = answers[event->choice];
      if (event->has_token) {
        answer.tokens.push_back(event->token.id);
        answer.logprobs.push_back(event->token.logprob);
      }
      if (!event->prompt_logprobs.empty()) answer.prompt_logprobs = event->prompt_logprobs;
      if (event->finish == FinishReason::kNone) continue;
      answer.finish = event->finish;
      answer.last = *event;
    }
  }

  static std::map<int, Answer> answer(Engine& engine, GenerateRequest request) {
    const auto stream = engine.submit(std::move(request)).stream;
    std::map<int, Answer> answers;
    while (!stream->is_drained()) {
      engine.step();
      drain(*stream, answers);
    }
    return answers;
  }

  std::unique_ptr<Checkpoint> checkpoint_ = Checkpoint::open(kModel);
};

TEST_F(EngineTest, AnswersDoNotDependOnBatchChunksOrPreemption) {
  constexpr int kRequests = 12;
  std::vector<Answer> alone;
  auto quiet = make_engine(1, 128, 8);
  for (int i = 0; i < kRequests; ++i) alone.push_back(answer(*quiet, request(i))[0]);

  struct Setting {
    int64_t max_sequences, max_batch_tokens, num_blocks;
    bool expect_preemption;
    int64_t num_swap_blocks = 0;
    bool prefix_caching = true;
  };
  for (const Setting& setting : {Setting{12, 512, 64, false}, Setting{4, 5, 64, false}, Setting{8, 16, 5, true},
                                 Setting{8, 16, 5, true, 0, false}, Setting{8, 16, 5, true, 16, false}}) {
    EngineOptions options;
    options.scheduler.prefix_caching = setting.prefix_caching;
    options.scheduler.preemption = Preemption::kSwap;
    auto engine = make_engine(setting.max_sequences, setting.max_batch_tokens, setting.num_blocks, options,
                              setting.num_swap_blocks);
    std::vector<std::shared_ptr<OutputStream>> streams;
    for (int i = 0; i < kRequests; ++i) streams.push_back(engine->submit(request(i)).stream);
    std::vector<std::map<int, Answer>> answers(kRequests);
    while (engine->step()) {
      engine->scheduler().check();
      for (int i = 0; i < kRequests; ++i) drain(*streams[i], answers[i]);
    }
    for (int i = 0; i < kRequests; ++i) {
      EXPECT_EQ(answers[i][0].tokens, alone[i].tokens) << "request " << i << ", pool " << setting.num_blocks;
      EXPECT_EQ(answers[i][0].finish, FinishReason::kLength);
    }
    EXPECT_EQ(engine->status().num_preemptions > 0, setting.expect_preemption) << "pool " << setting.num_blocks;
    EXPECT_EQ(engine->status().num_swaps > 0, setting.num_swap_blocks > 0);
    EXPECT_EQ(engine->scheduler().blocks().num_active(), 0);
  }
}

TEST_F(EngineTest, APrefixFromAStoreGivesTheSameBits) {
  StoredRecords records;
  const auto make = [&](bool with_store) {
    EngineOptions options;
    options.scheduler.hash_key = {.low = 5, .high = 6};
    if (with_store) {
      options.make_store = [&records](ModelRunner&) {
        return std::make_unique<SimulatedStore>(records, SimulatedStore::Faults{.polls_until_done = 2});
      };
    }
    return make_engine(2, 128, 8, options);
  };
  GenerateRequest asked;
  for (int i = 0; i < 100; ++i) asked.prompt.push_back((i * 13) % 96);
  asked.max_tokens = 20;
  asked.sampling.temperature = 0.0f;
  asked.sampling.num_logprobs = 0;
  const Answer expected = answer(*make(false), asked)[0];
  for (const int64_t fetched : {0, 96}) {
    const auto engine = make(true);  // as after a restart
    const Answer given = answer(*engine, asked)[0];
    EXPECT_EQ(given.last.num_cached_tokens, fetched);
    EXPECT_EQ(given.tokens, expected.tokens);
    EXPECT_EQ(given.logprobs, expected.logprobs);
    EXPECT_EQ(engine->status().kv_store.fetched_tokens, fetched);
    engine->scheduler().check();
  }
}

TEST_F(EngineTest, ABeamSearchMayEndWhileItsBlocksAreFetched) {
  StoredRecords records;
  SimulatedStore* store = nullptr;
  EngineOptions options;
  options.make_store = [&](ModelRunner&) {
    auto made = std::make_unique<SimulatedStore>(records, SimulatedStore::Faults{});
    store = made.get();
    return made;
  };
  auto engine = make_engine(2, 128, 8, options);
  store->is_hung = true;
  GenerateRequest asked;
  for (int i = 0; i < 100; ++i) asked.prompt.push_back((i * 13) % 96);
  asked.max_tokens = 8;
  asked.beam.width = 2;
  asked.num_choices = 2;
  const auto stream = engine->submit(asked).stream;
  engine->step();
  ASSERT_TRUE(engine->is_fetching());
  stream->cancel();
  engine->step();
  EXPECT_FALSE(engine->is_fetching());
  store->is_hung = false;
  engine->step();
  engine->scheduler().check();
  EXPECT_EQ(engine->scheduler().blocks().num_active(), 0);
}

TEST_F(EngineTest, ACachedPrefixGivesTheSameBits) {
  EngineOptions without;
  without.scheduler.prefix_caching = false;
  auto plain = make_engine(1, 128, 8, without);
  auto caching = make_engine(1, 128, 8);
  GenerateRequest asked;
  for (int i = 0; i < 70; ++i) asked.prompt.push_back((i * 13) % 96);
  asked.max_tokens = 20;
  asked.sampling.temperature = 0.0f;
  asked.sampling.num_logprobs = 0;
  const Answer expected = answer(*plain, asked)[0];
  EXPECT_EQ(answer(*plain, asked)[0].last.num_cached_tokens, 0);
  for (const int64_t cached : {0, 64}) {
    const Answer given = answer(*caching, asked)[0];
    EXPECT_EQ(given.last.num_cached_tokens, cached);
    EXPECT_EQ(given.tokens, expected.tokens);
    EXPECT_EQ(given.logprobs, expected.logprobs);
  }
  // The next turn of a conversation: prompt, answer and a new question.
  GenerateRequest next = asked;
  next.prompt.insert(next.prompt.end(), expected.tokens.begin(), expected.tokens.end());
  next.prompt.push_back(3);
  next.prompt.push_back(5);
  next.prompt.resize(100, 7);
  const Answer turn = answer(*caching, next)[0];
  EXPECT_EQ(turn.last.num_cached_tokens, 64) << "the generated tokens did not fill a block of 32 more";
  EXPECT_EQ(turn.logprobs, answer(*plain, next)[0].logprobs);
  GenerateRequest salted = asked;
  salted.cache_salt = "somebody else";
  EXPECT_EQ(answer(*caching, salted)[0].last.num_cached_tokens, 0);
  EXPECT_EQ(caching->status().cached_tokens, 128);
}

TEST_F(EngineTest, PromptLogprobsDoNotDependOnChunks) {
  GenerateRequest asked = request(6, 1);
  asked.num_prompt_logprobs = 2;
  asked.sampling.num_logprobs = 2;
  auto whole = make_engine(2, 128, 16);
  auto sliced = make_engine(2, 3, 16);
  const Answer expected = answer(*whole, asked)[0];
  ASSERT_EQ(expected.prompt_logprobs.size(), asked.prompt.size());
  for (int repeat = 0; repeat < 2; ++repeat) {  // the second time the prefix is known, and must not be skipped
    const Answer given = answer(*sliced, asked)[0];
    ASSERT_EQ(given.prompt_logprobs.size(), asked.prompt.size());
    for (size_t i = 1; i < asked.prompt.size(); ++i) {
      const SampledToken& token = given.prompt_logprobs[i];
      EXPECT_EQ(token.id, asked.prompt[i]);
      EXPECT_EQ(token.logprob, expected.prompt_logprobs[i].logprob);
      ASSERT_EQ(token.top.size(), 2u);
      EXPECT_EQ(token.top[0].logprob, expected.prompt_logprobs[i].top[0].logprob);
    }
    EXPECT_EQ(given.logprobs, expected.logprobs);
  }
  // A token has the same log probability as part of a prompt and as the next token drawn.
  GenerateRequest longer = asked;
  longer.prompt.push_back(expected.tokens[0]);
  longer.max_tokens = 0;
  const Answer scored = answer(*whole, longer)[0];
  EXPECT_TRUE(scored.tokens.empty());
  EXPECT_EQ(scored.finish, FinishReason::kLength);
  EXPECT_EQ(scored.prompt_logprobs.back().logprob, expected.logprobs[0]);
}

TEST_F(EngineTest, EmbeddingsDoNotDependOnChunks) {
  auto whole = make_engine(2, 128, 16);
  auto sliced = make_engine(2, 3, 16);
  for (const Pooling pooling : {Pooling::kMean, Pooling::kCls, Pooling::kLast}) {
    GenerateRequest asked = request(5);
    asked.pooling = pooling;
    const Answer expected = answer(*whole, asked)[0];
    ASSERT_EQ(expected.last.embedding.size(), static_cast<size_t>(whole->runner().info().hidden_size));
    EXPECT_EQ(answer(*sliced, asked)[0].last.embedding, expected.last.embedding);
    EXPECT_EQ(answer(*whole, asked)[0].last.embedding, expected.last.embedding) << "with its prefix known";
  }
}

// LongRoPE: the log probability of a token follows from the tokens before it and from their number, whatever limit the
// sequence has and however it came there: its factors change at 48 tokens (Transformers' logits of both sides are in
// tests/golden).
TEST_F(EngineTest, RopeFactorsAreThoseOfThePresentLength) {
  checkpoint_ = Checkpoint::open(QUIRE_SOURCE_DIR "/tests/golden/phi3-longrope");
  const auto prompt_of = [](int index, int num_tokens) {
    GenerateRequest out;
    for (int i = 0; i < num_tokens; ++i) out.prompt.push_back((index * 31 + i * 17) % 96);
    out.sampling.temperature = 0.0f;
    return out;
  };
  // Each token alone: a prompt of all that stands before it, in an engine that has cached nothing.
  auto alone = make_engine(1, 128, 16);
  ASSERT_EQ(alone->runner().info().rope_switch_length, 48);
  const auto expected = [&](int index, int num_prompt, int count) {
    Answer all;
    GenerateRequest asked = prompt_of(index, num_prompt);
    asked.max_tokens = 1;
    asked.shares_cache = false;
    for (int i = 0; i < count; ++i) {
      const Answer next = answer(*alone, asked)[0];
      all.tokens.push_back(next.tokens.at(0));
      all.logprobs.push_back(next.logprobs.at(0));
      asked.prompt.push_back(next.tokens[0]);
    }
    return all;
  };
  constexpr int kCount = 50;
  const int lengths[] = {20, 30, 47, 48, 60};  // below the switch, at its edge, beyond it
  std::vector<Answer> want;
  for (size_t i = 0; i < std::size(lengths); ++i) want.push_back(expected(static_cast<int>(i), lengths[i], kCount));

  struct Way {
    int64_t max_sequences, max_batch_tokens, num_blocks, num_swap_blocks;
  };
  // Alone, together, in chunks, preempted by recompute and by swap.
  const Way ways[] = {{1, 128, 16, 0}, {5, 128, 32, 0}, {5, 7, 32, 0}, {5, 32, 5, 0}, {5, 32, 5, 6}};
  for (const Way& way : ways) {
    EngineOptions options;
    options.scheduler.preemption = way.num_swap_blocks > 0 ? Preemption::kSwap : Preemption::kRecompute;
    auto engine = make_engine(way.max_sequences, way.max_batch_tokens, way.num_blocks, options, way.num_swap_blocks);
    for (const bool is_cached : {false, true}) {
      std::vector<std::shared_ptr<OutputStream>> streams;
      for (size_t i = 0; i < std::size(lengths); ++i) {
        GenerateRequest asked = prompt_of(static_cast<int>(i), lengths[i]);
        asked.max_tokens = kCount;
        streams.push_back(engine->submit(asked).stream);
      }
      while (engine->step()) {
      }
      for (size_t i = 0; i < std::size(lengths); ++i) {
        std::map<int, Answer> got;
        drain(*streams[i], got);
        SCOPED_TRACE("prompt of " + std::to_string(lengths[i]) + " tokens, batches of " +
                     std::to_string(way.max_batch_tokens) + ", " + std::to_string(way.num_blocks) + " blocks, " +
                     (is_cached ? "cached" : "new"));
        EXPECT_EQ(got[0].tokens, want[i].tokens);
        EXPECT_EQ(got[0].logprobs, want[i].logprobs);
      }
    }
    EXPECT_TRUE(way.num_blocks > 5 || engine->status().num_preemptions > 0);
  }
}

TEST_F(EngineTest, TheLimitOfASequenceChangesNothing) {
  checkpoint_ = Checkpoint::open(QUIRE_SOURCE_DIR "/tests/golden/phi3-longrope");
  auto engine = make_engine(1, 128, 16);
  GenerateRequest asked = request(1, 2);
  const Answer shortly = answer(*engine, asked)[0];
  asked.max_tokens = 60;
  const Answer long_after = answer(*engine, asked)[0];
  ASSERT_EQ(shortly.logprobs.size(), 2u);
  EXPECT_TRUE(std::equal(shortly.logprobs.begin(), shortly.logprobs.end(), long_after.logprobs.begin()));
}

TEST_F(EngineTest, ATimeoutEndsRunningAndWaitingRequests) {
  double now = 1000;
  EngineOptions options;
  options.now_ms = [&] { return now; };
  auto engine = make_engine(1, 128, 16, options);
  GenerateRequest asked = request(2, 60);
  asked.timeout_ms = 50;
  const auto running = engine->submit(asked).stream;
  const auto waiting = engine->submit(asked).stream;
  for (int i = 0; i < 5; ++i) engine->step();
  now += 51;
  engine->step();
  std::map<int, Answer> answers;
  drain(*running, answers);
  EXPECT_EQ(answers[0].finish, FinishReason::kTimeout);
  EXPECT_GT(answers[0].tokens.size(), 0u);
  drain(*waiting, answers);
  EXPECT_TRUE(waiting->is_drained());
  EXPECT_EQ(engine->status().num_timed_out, 2);
  EXPECT_EQ(engine->scheduler().blocks().num_active(), 0);
}

// The padded static baseline: all sequences run as long as the longest, and the answers are the same.
TEST_F(EngineTest, PaddedStaticBatchesGiveTheSameAnswers) {
  int64_t computed[2];
  std::vector<int32_t> tokens[2];
  for (const int padded : {0, 1}) {
    EngineOptions options;
    options.scheduler.static_batching = StaticBatching::kRefilled;
    auto engine = make_engine(4, 128, 32, options);
    std::vector<std::shared_ptr<OutputStream>> streams;
    for (int i = 0; i < 6; ++i) {
      GenerateRequest asked = request(i, i % 2 == 0 && padded == 0 ? 4 : 40);
      asked.ignore_eos = true;
      streams.push_back(engine->submit(asked).stream);
    }
    std::map<int, Answer> answers;
    while (engine->step()) {
    }
    drain(*streams[0], answers);
    tokens[padded] = answers[0].tokens;
    tokens[padded].resize(4);
    computed[padded] = engine->status().computed_tokens;
    EXPECT_EQ(engine->status().num_running, 0);
  }
  EXPECT_EQ(tokens[0], tokens[1]);
  EXPECT_GT(computed[1], computed[0] + 60);
}

TEST_F(EngineTest, ChoicesShareThePromptAndDifferInTheirSeeds) {
  auto engine = make_engine(4, 128, 32);
  GenerateRequest asked = request(7, 12);
  asked.num_choices = 3;
  const auto answers = answer(*engine, asked);
  ASSERT_EQ(answers.size(), 3u);
  for (const auto& [choice, given] : answers) {
    EXPECT_EQ(given.tokens.size(), 12u);
    EXPECT_EQ(given.finish, FinishReason::kLength);
  }
  EXPECT_NE(answers.at(0).tokens, answers.at(1).tokens);
  EXPECT_NE(answers.at(1).tokens, answers.at(2).tokens);
  asked.num_choices = 1;
  EXPECT_EQ(answer(*engine, asked)[0].tokens, answers.at(0).tokens);
  EXPECT_EQ(engine->scheduler().blocks().num_active(), 0);
}

TEST_F(EngineTest, StopTokensEndTheAnswerAndAreMarked) {
  auto engine = make_engine(1, 128, 8);
  const std::vector<int32_t> free_run = answer(*engine, request(0, 20))[0].tokens;
  GenerateRequest stopped = request(0, 20);
  stopped.eog_ids = {free_run[5]};
  const auto first = static_cast<size_t>(std::find(free_run.begin(), free_run.end(), free_run[5]) - free_run.begin());
  Answer given = answer(*engine, stopped)[0];
  EXPECT_EQ(given.finish, FinishReason::kStop);
  EXPECT_EQ(given.tokens.size(), first + 1);
  stopped.ignore_eos = true;
  EXPECT_EQ(answer(*engine, stopped)[0].tokens, free_run);
  stopped.stop_token_ids = {free_run[5]};
  EXPECT_EQ(answer(*engine, stopped)[0].finish, FinishReason::kStop);
}

TEST_F(EngineTest, CancellationFreesAllBlocksWithinOneStep) {
  auto engine = make_engine(2, 8, 16);
  GenerateRequest forked = request(4);
  forked.num_choices = 2;
  const auto running = engine->submit(forked).stream;
  const auto queued = engine->submit(request(5)).stream;
  for (int i = 0; i < 12; ++i) engine->step();
  running->cancel(1);
  queued->cancel();
  engine->step();
  std::map<int, Answer> answers;
  drain(*queued, answers);
  EXPECT_EQ(answers[0].finish, FinishReason::kCancelled);
  answers.clear();
  while (engine->step()) drain(*running, answers);
  drain(*running, answers);
  EXPECT_EQ(answers[0].finish, FinishReason::kLength);
  EXPECT_EQ(answers[1].finish, FinishReason::kCancelled);
  EXPECT_TRUE(running->is_drained() && queued->is_drained());
  EXPECT_EQ(engine->scheduler().blocks().num_active(), 0);

  // Before the prompt's prefill ends no fork exists yet; still every choice must end.
  const auto early = engine->submit(forked).stream;
  engine->step();
  early->cancel();
  engine->step();
  answers.clear();
  drain(*early, answers);
  EXPECT_EQ(answers.size(), 2u);
  EXPECT_TRUE(early->is_drained());
}

TEST_F(EngineTest, RefusesRequestsThatCanNeverRunOrFindTheQueueFull) {
  EngineOptions options;
  options.max_queued_requests = 2;
  auto engine = make_engine(2, 16, 4, options);
  const auto refused = [&](auto change) {
    GenerateRequest bad = request(1);
    change(bad);
    EXPECT_THROW(engine->submit(bad), Error);
  };
  refused([](auto& r) { r.prompt.clear(); });
  refused([](auto& r) { r.prompt[0] = 96; });
  refused([](auto& r) { r.prompt[0] = -1; });
  refused([](auto& r) { r.prompt.assign(128, 1); });
  refused([](auto& r) { r.max_tokens = 128; });
  refused([](auto& r) { r.num_choices = 3; });
  refused([](auto& r) { r.num_choices = 0; });
  refused([](auto& r) { r.sampling.temperature = -1.0f; });
  EXPECT_NE(engine->submit(request(1)).stream, nullptr);
  EXPECT_NE(engine->submit(request(2)).stream, nullptr);
  EXPECT_EQ(engine->submit(request(3)).stream, nullptr);
}

// Numbers from outside may have any value: nothing is added to them before they are checked to be small.
TEST_F(EngineTest, RefusesLengthsThatWouldOverflow) {
  auto engine = make_engine(2, 16, 16);
  for (const int64_t max_tokens : {std::numeric_limits<int64_t>::max(), std::numeric_limits<int64_t>::max() - 12}) {
    GenerateRequest asked = request(1, max_tokens);
    try {
      engine->submit(asked);
      ADD_FAILURE() << max_tokens << " tokens were accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kLimit);
      EXPECT_NE(std::string(error.what()).find(std::to_string(max_tokens) + " in the completion"), std::string::npos);
      EXPECT_NE(std::string(error.what()).find("requested 9223372036854775807"), std::string::npos);
    }
  }
  EXPECT_NE(engine->submit(request(1, 3)).stream, nullptr);
}

TEST_F(EngineTest, ItsDestructorWakesWaitingReaders) {
  auto engine = make_engine(1, 128, 8);
  const auto running = engine->submit(request(1)).stream;
  const auto waiting = engine->submit(request(2)).stream;
  for (int i = 0; i < 3; ++i) engine->step();
  const auto arrived = engine->submit(request(3)).stream;
  std::vector<FinishReason> ends(3);
  std::vector<std::thread> readers;
  for (const auto& stream : {running, waiting, arrived}) {
    readers.emplace_back([stream, end = &ends[readers.size()]] {
      while (const auto event = stream->next()) *end = event->finish;
    });
  }
  engine.reset();
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(ends, std::vector<FinishReason>(3, FinishReason::kCancelled));
}

TEST_F(EngineTest, IsUnhealthyWhenWorkMakesNoProgress) {
  double now = 0;
  EngineOptions options;
  options.now_ms = [&] { return now; };
  options.stall_ms = 1000;
  auto engine = make_engine(2, 128, 16, options);
  now = 1e6;
  EXPECT_EQ(engine->health(), EngineHealth::kHealthy) << "there is nothing to do";
  const auto stream = engine->submit(request(1, 6)).stream;
  now += 999;
  engine->submit(request(2, 3));
  EXPECT_EQ(engine->health(), EngineHealth::kHealthy);
  now += 2;
  EXPECT_EQ(engine->health(), EngineHealth::kStalled) << "nobody steps";
  engine->step();
  EXPECT_EQ(engine->health(), EngineHealth::kHealthy);
  now += 1001;
  EXPECT_EQ(engine->health(), EngineHealth::kStalled) << "half way through";
  while (engine->step()) {
  }
  now += 1e6;
  EXPECT_EQ(engine->health(), EngineHealth::kHealthy) << "all is done";
}

TEST_F(EngineTest, ARequestThatDeclinesTheCacheNeitherUsesNorFillsIt) {
  auto engine = make_engine(1, 128, 8);
  GenerateRequest asked;
  for (int i = 0; i < 70; ++i) asked.prompt.push_back((i * 13) % 96);
  asked.max_tokens = 20;
  asked.shares_cache = false;
  answer(*engine, asked);
  EXPECT_EQ(engine->status().blocks_cached, 0);
  asked.shares_cache = true;
  EXPECT_EQ(answer(*engine, asked)[0].last.num_cached_tokens, 0);
  EXPECT_EQ(answer(*engine, asked)[0].last.num_cached_tokens, 64);
  asked.shares_cache = false;
  EXPECT_EQ(answer(*engine, asked)[0].last.num_cached_tokens, 0);
}

// Readers on other threads, as in a server.
TEST_F(EngineTest, ReadersOnOtherThreads) {
  auto engine = make_engine(4, 32, 32);
  std::vector<std::thread> readers;
  std::vector<size_t> counts(6);
  for (int i = 0; i < 6; ++i) {
    readers.emplace_back([&, i] {
      const auto stream = engine->submit(request(i, 20)).stream;
      while (const auto event = stream->next()) counts[i] += event->has_token ? 1 : 0;
    });
  }
  std::atomic<bool> stop = false;
  std::thread steps([&] {
    while (!stop) {
      if (!engine->step()) std::this_thread::yield();
    }
  });
  for (std::thread& reader : readers) reader.join();
  stop = true;
  steps.join();
  EXPECT_EQ(counts, std::vector<size_t>(6, 20));
}

}  // namespace
}  // namespace quire
