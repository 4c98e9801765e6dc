// Admits requests to the engine: refuses those that can never run or find the queue full, gives the others their ids,
// and counts the queue.
//
// submit() and the like: any thread. The rest: engine thread.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "engine/choice.h"
#include "engine/scheduler.h"
#include "models/running/model_runner.h"

namespace quire {

enum class Refusal : uint8_t { kNone, kQueueRequests, kQueueTokens, kStopped };

enum class Entry : uint8_t {
  kNew,         // a full queue refuses it
  kMoreOfList,  // as well, but that counts as no refusal: it will come again
  kNextOfList,  // in the place of one of its list that has ended: no queue is too full for it
};

struct Submission {
  std::shared_ptr<OutputStream> stream = nullptr;  // null when refused
  Refusal refusal = Refusal::kNone;
  double retry_after_ms = 0.0;  // when refused: until about half the queue has left, at the measured speed
};

class Admission {
 public:
  struct Options {
    int64_t max_queued_requests = 0;  // waiting, not yet started
    int64_t max_queued_tokens = 0;    // in the prompts of these requests
    uint64_t seed = 0;                // for requests without a seed
    std::function<double()> now_ms;
  };
  // Runner and scheduler must outlive this object. It reads only those parts of the scheduler that never change.
  Admission(const ModelRunner& runner, const Scheduler& scheduler, Options options)
      : runner_(runner), scheduler_(scheduler), options_(std::move(options)) {}

  // These four: see Engine.
  void validate(const GenerateRequest& request) const;
  Submission submit(GenerateRequest request, Entry entry);
  std::optional<Submission> refuse_when_full();
  int64_t max_sequence_tokens() const;

  int64_t num_queued() const { return queued_requests_; }  // submitted, not yet started
  int64_t num_refused_requests() const { return refused_requests_; }
  int64_t num_refused_tokens() const { return refused_tokens_; }

  // The choices that have arrived since the last call.
  std::vector<std::unique_ptr<Choice>> take_arrived();
  // The choice has started, or ended without starting: the queue no longer counts it.
  void leave_queue(Choice& choice);
  // A choice has ended: updates the measured speed of the queue.
  void observe_finish(double now_ms);
  // From now on every request is refused.
  void stop();

 private:
  int64_t max_length_of(const GenerateRequest& request) const;
  std::optional<Submission> enter_queue(const GenerateRequest& request, Entry entry, uint64_t& id);
  Submission refuse(Refusal refusal, Entry entry);

  const ModelRunner& runner_;
  const Scheduler& scheduler_;
  const Options options_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Choice>> arrived_;
  bool is_stopped_ = false;
  uint64_t next_id_ = 0;
  std::atomic<int64_t> queued_requests_{0};
  std::atomic<int64_t> queued_tokens_{0};
  std::atomic<int64_t> refused_requests_{0};
  std::atomic<int64_t> refused_tokens_{0};
  double last_finish_ms_ = 0.0;
  std::atomic<double> finish_interval_ms_{0.0};  // recent mean time between the ends of two choices
};

}  // namespace quire
