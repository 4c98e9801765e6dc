// The step loop: admit and cancel, plan, run, decode, publish. Sole owner of all mutable serving state.
//
// submit() may be called from any thread; step() from one thread, the engine thread. After construction the step loop
// throws nothing: what a request asks wrongly is refused by submit().
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "engine/output_stream.h"
#include "engine/request.h"
#include "engine/scheduler.h"
#include "models/model_runner.h"

namespace quire {

struct EngineOptions {
  int64_t max_queued_requests = 1024;
  uint64_t seed = 0;               // of requests that bring none; each gets a stream of its own
  std::function<double()> now_ms;  // the clock; empty: steady_clock
};

class Engine {
 public:
  Engine(std::unique_ptr<ModelRunner> runner, EngineOptions options = {});
  ~Engine();

  // Throws Error when the request can never run (out-of-range parameter, prompt too long); gives null when the queue is
  // full.
  std::shared_ptr<OutputStream> submit(GenerateRequest request);
  // One iteration; false when there was nothing to do.
  bool step();

  const ModelRunner& runner() const { return *runner_; }
  const Scheduler& scheduler() const { return scheduler_; }

 private:
  struct Choice;  // one sequence with its sampler and its stream

  int64_t longest_sequence() const;
  void validate(const GenerateRequest& request) const;
  void admit_and_cancel();
  void run(const StepPlan& plan);
  void decode(const std::vector<StepPlan::Item>& items);
  void fork_choices(Choice& parent, std::span<const float> logits);
  void sample(Choice& choice, std::span<const float> logits);
  void finish(Choice& choice, OutputEvent event, FinishReason reason);

  std::unique_ptr<ModelRunner> runner_;
  EngineOptions options_;
  Scheduler scheduler_;
  std::unordered_map<const Sequence*, std::unique_ptr<Choice>> choices_;
  Batch batch_;
  std::span<const float> logits_;

  std::atomic<int64_t> num_waiting_{0};  // in the scheduler, as of the last step
  std::mutex queue_mutex_;
  std::vector<std::unique_ptr<Choice>> queue_;  // arrived, not yet seen by the engine thread
  uint64_t next_id_ = 0;
};

}  // namespace quire
