// The engine when steps fail: a device that fails sometimes, or permanently, under the emulated CUDA table, with steps
// in flight.
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <map>

#include "base/error.h"
#include "engine/engine_thread.h"
#include "models/running/test_backends.h"
#include "models/running/test_models.h"

namespace quire {
namespace {

// How many waits for steps succeed until one throws; negative: all succeed.
std::atomic<int> waits_until_failure{-1};
std::atomic<bool> fails_for_good{false};

// Wraps a device and fails on request.
class FailingDevice : public Device {
 public:
  explicit FailingDevice(std::unique_ptr<Device> device) : device_(std::move(device)) {}
  std::string description() const override { return device_->description(); }
  bool is_host() const override { return device_->is_host(); }
  uint64_t free_bytes() const override { return device_->free_bytes(); }
  void* stream() override { return device_->stream(); }
  std::byte* allocate(size_t size_bytes) override { return device_->allocate(size_bytes); }
  void release(std::byte* memory) noexcept override { device_->release(memory); }
  std::byte* allocate_staging(size_t size_bytes) override { return device_->allocate_staging(size_bytes); }
  void release_staging(std::byte* memory) noexcept override { device_->release_staging(memory); }
  void upload(std::byte* to, const std::byte* from, size_t n) override { device_->upload(to, from, n); }
  void upload_staged(std::byte* to, const std::byte* from, size_t n) override { device_->upload_staged(to, from, n); }
  void download_staged(std::byte* to, const std::byte* from, size_t n) override {
    device_->download_staged(to, from, n);
  }
  void download(std::byte* to, const std::byte* from, size_t n) override { device_->download(to, from, n); }
  void copy(std::byte* to, const std::byte* from, size_t n) override { device_->copy(to, from, n); }
  void synchronize() override { device_->synchronize(); }
  void mark(int index) override { device_->mark(index); }
  void wait_for(int index) override {
    device_->wait_for(index);
    if (fails_for_good) fail(ErrorCode::kIo, "the device has gone");
    if (waits_until_failure >= 0 && waits_until_failure-- == 0) fail(ErrorCode::kIo, "the device failed");
  }
  bool records() const override { return device_->records(); }
  void run(uint64_t key, const std::function<void()>& body) override { device_->run(key, body); }

 private:
  std::unique_ptr<Device> device_;
};

class EngineFailure : public testing::Test {
 protected:
  void SetUp() override {
    if (!test::has_cuda()) GTEST_SKIP() << "no CUDA device, and none emulated";
    waits_until_failure = -1;
    fails_for_good = false;
    image_ = test::tiny_gguf({});
    checkpoint_ = Checkpoint::from_gguf_bytes(test::as_bytes(image_), "tiny.gguf");
    const RunnerOptions options{.num_threads = 2,
                                .device = "cuda",
                                .max_batch_tokens = 64,
                                .max_sequences = 4,
                                .max_context = 64,
                                .num_blocks = 32,
                                .cuda = {.make = make_failing}};
    engine_ = std::make_unique<Engine>(ModelRunner::load(*checkpoint_, options));
  }

  static Backend make_failing(bool one_answer, int index) {
    Backend backend = test::cuda().make(one_answer, index);
    backend.device = std::make_unique<FailingDevice>(std::move(backend.device));
    return backend;
  }

  static GenerateRequest request(int index) {
    GenerateRequest out;
    for (int i = 0; i < 3 + index % 5; ++i) out.prompt.push_back((index * 31 + i * 17) % 63);
    out.max_tokens = 12;
    out.sampling.seed = 100 + index;
    return out;
  }

  struct Answer {
    std::vector<int32_t> tokens;
    FinishReason finish = FinishReason::kNone;
  };
  static Answer read(OutputStream& stream) {
    Answer answer;
    while (const auto event = stream.try_next()) {
      if (event->has_token) answer.tokens.push_back(event->token.id);
      answer.finish = event->finish;
    }
    return answer;
  }

  // Steps until there is no work; returns how often the engine had to recover.
  int run() {
    int failures = 0;
    while (true) {
      try {
        if (!engine_->step()) return failures;
      } catch (const Error&) {
        ++failures;
        if (!engine_->recover()) return failures;
      }
      engine_->scheduler().check();
    }
  }

  std::vector<int32_t> expected(int index) {
    const auto stream = engine_->submit(request(index)).stream;
    run();
    return read(*stream).tokens;
  }

  std::string image_;
  std::unique_ptr<Checkpoint> checkpoint_;
  std::unique_ptr<Engine> engine_;
};

TEST_F(EngineFailure, AFailedStepEndsOnlyItsOwnRequests) {
  constexpr int kRequests = 10;
  std::vector<std::vector<int32_t>> answers;
  for (int i = 0; i < kRequests; ++i) answers.push_back(expected(i));
  for (const int after : {0, 1, 5, 9}) {
    const int64_t aborted_before = engine_->status().num_aborted;
    const int64_t failed_before = engine_->status().num_failed_steps;
    std::vector<std::shared_ptr<OutputStream>> streams;
    for (int i = 0; i < kRequests; ++i) streams.push_back(engine_->submit(request(i)).stream);
    waits_until_failure = after;
    EXPECT_EQ(run(), 1);
    int num_aborted = 0;
    for (int i = 0; i < kRequests; ++i) {
      const Answer answer = read(*streams[i]);
      EXPECT_TRUE(streams[i]->is_drained());
      if (answer.finish == FinishReason::kAborted) {
        ++num_aborted;
        ASSERT_LE(answer.tokens.size(), answers[i].size());
        EXPECT_TRUE(std::equal(answer.tokens.begin(), answer.tokens.end(), answers[i].begin()));
      } else {
        EXPECT_EQ(answer.finish, FinishReason::kLength);
        EXPECT_EQ(answer.tokens, answers[i]) << "request " << i;
      }
    }
    EXPECT_EQ(num_aborted, 4) << "those that ran, failing after " << after;
    EXPECT_EQ(engine_->status().num_aborted - aborted_before, 4);
    EXPECT_EQ(engine_->status().num_failed_steps - failed_before, 1);
    EXPECT_EQ(engine_->scheduler().blocks().num_active(), 0);
    EXPECT_EQ(engine_->health(), EngineHealth::kHealthy);
  }
}

TEST_F(EngineFailure, ADeviceThatAlwaysFailsStopsTheEngine) {
  std::vector<std::shared_ptr<OutputStream>> streams;
  for (int i = 0; i < 10; ++i) streams.push_back(engine_->submit(request(i)).stream);
  for (int i = 0; i < 3; ++i) engine_->step();
  fails_for_good = true;
  EXPECT_GE(run(), 1);
  EXPECT_EQ(engine_->health(), EngineHealth::kStopped);
  for (const auto& stream : streams) {
    EXPECT_EQ(read(*stream).finish, FinishReason::kAborted);
    EXPECT_TRUE(stream->is_drained());
  }
  const Submission late = engine_->submit(request(1));
  EXPECT_EQ(late.stream, nullptr);
  EXPECT_EQ(late.refusal, Refusal::kStopped);
  EXPECT_EQ(engine_->refuse_when_full()->refusal, Refusal::kStopped);
  EXPECT_EQ(engine_->scheduler().blocks().num_active(), 0);
  EXPECT_FALSE(engine_->step());
}

TEST_F(EngineFailure, TheThreadContinuesAfterAFailure) {
  const std::vector<int32_t> tokens = expected(3);
  waits_until_failure = 4;
  const EngineThread thread(*engine_);
  const auto failed = engine_->submit(request(3)).stream;
  FinishReason finish = FinishReason::kNone;
  while (const auto event = failed->next()) finish = event->finish;
  EXPECT_EQ(finish, FinishReason::kAborted);
  const auto served = engine_->submit(request(3)).stream;
  std::vector<int32_t> given;
  while (const auto event = served->next()) given.push_back(event->token.id);
  EXPECT_EQ(given, tokens);
}

TEST_F(EngineFailure, TheThreadReportsThatTheEngineHasStopped) {
  fails_for_good = true;
  std::promise<std::string> stopped;
  const EngineThread thread(*engine_, [&](const std::string& reason) { stopped.set_value(reason); });
  const auto stream = engine_->submit(request(3)).stream;
  while (stream->next()) {
  }
  EXPECT_EQ(stopped.get_future().get(), "the device has gone");
  EXPECT_EQ(engine_->health(), EngineHealth::kStopped);
}

}  // namespace
}  // namespace quire
