// The engine over a real (tiny) model: what a request gets must not depend on its company, its chunks or preemption.

#include "engine/engine.h"

#include <gtest/gtest.h>

#include <map>
#include <thread>

#include "base/error.h"

namespace quire {
namespace {

const char* const kModel = QUIRE_SOURCE_DIR "/tests/golden/llama3-gqa-tied";

class EngineTest : public testing::Test {
 protected:
  std::unique_ptr<Engine> make_engine(int64_t max_sequences, int64_t max_batch_tokens, int64_t num_blocks,
                                      EngineOptions options = {}) {
    RunnerOptions runner;
    runner.num_threads = 2;
    runner.max_sequences = max_sequences;
    runner.max_batch_tokens = max_batch_tokens;
    runner.max_context = 128;
    runner.num_blocks = num_blocks;
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
    FinishReason finish = FinishReason::kNone;
  };

  static void drain(OutputStream& stream, std::map<int, Answer>& answers) {
    while (const auto event = stream.try_next()) {
      if (event->has_token) answers[event->choice].tokens.push_back(event->token.id);
      if (event->finish != FinishReason::kNone) answers[event->choice].finish = event->finish;
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

TEST_F(EngineTest, SameAnswerAloneAmongOthersChunkedAndPreempted) {
  constexpr int kRequests = 12;
  std::vector<Answer> alone;
  auto quiet = make_engine(1, 128, 8);
  for (int i = 0; i < kRequests; ++i) alone.push_back(answer(*quiet, request(i))[0]);

  struct Setting {
    int64_t max_sequences, max_batch_tokens, num_blocks;
    bool expect_preemption;
  };
  for (const Setting& setting : {Setting{12, 512, 64, false}, Setting{4, 5, 64, false}, Setting{8, 16, 9, true}}) {
    auto engine = make_engine(setting.max_sequences, setting.max_batch_tokens, setting.num_blocks);
    std::vector<std::shared_ptr<OutputStream>> streams;
    for (int i = 0; i < kRequests; ++i) streams.push_back(engine->submit(request(i)).stream);
    std::vector<std::map<int, Answer>> answers(kRequests);
    int64_t most_waiting = 0;
    bool preempted = false;
    while (engine->step()) {
      engine->scheduler().check();
      preempted = preempted || (most_waiting > 0 && engine->scheduler().num_waiting() > most_waiting);
      most_waiting = engine->scheduler().num_waiting();
      for (int i = 0; i < kRequests; ++i) drain(*streams[i], answers[i]);
    }
    for (int i = 0; i < kRequests; ++i) {
      EXPECT_EQ(answers[i][0].tokens, alone[i].tokens) << "request " << i << ", pool " << setting.num_blocks;
      EXPECT_EQ(answers[i][0].finish, FinishReason::kLength);
    }
    EXPECT_TRUE(preempted || !setting.expect_preemption) << "the pool was meant to be too small";
    EXPECT_EQ(engine->scheduler().blocks().num_active(), 0);
  }
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

TEST_F(EngineTest, StopTokensEndAndAreMarked) {
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

TEST_F(EngineTest, CancellationFreesEverythingWithinAStep) {
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

  // Before the prompt is through, no fork exists yet; every choice must end all the same.
  const auto early = engine->submit(forked).stream;
  engine->step();
  early->cancel();
  engine->step();
  answers.clear();
  drain(*early, answers);
  EXPECT_EQ(answers.size(), 2u);
  EXPECT_TRUE(early->is_drained());
}

TEST_F(EngineTest, RefusesWhatCanNeverRunAndWhatDoesNotFitTheQueue) {
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

// Readers on threads of their own, as a server has them.
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
