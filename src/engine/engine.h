// An engine: requests in, tokens out. Each step admits and cancels, plans, runs, decodes and publishes. Sole owner of
// all mutable serving state.
//
// submit(), status(), health() and the like may be called from any thread; step() and recover() from one thread, the
// engine thread (engine_thread.h runs one). What a request asks wrongly is refused by submit(); step() throws only when
// the model cannot be run.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>

#include "engine/admission.h"
#include "engine/model_executor.h"
#include "engine/status_counter.h"
#include "engine/step_loop.h"

namespace quire {

struct EngineOptions {
  SchedulerOptions scheduler = {};               // its limits come from the runner
  int64_t max_queued_requests = 1024;            // waiting, not yet started
  int64_t max_queued_tokens = int64_t{1} << 20;  // of their prompts
  // On a device that runs beside the host: plan and start a step while the one before it runs, as far as that one's
  // tokens need not be known for it. Only faster; off to measure what it brings.
  bool run_ahead = true;
  uint64_t seed = 0;                    // of requests that bring none; each gets a stream of its own
  std::function<double()> now_ms = {};  // the clock, asked by any thread; empty: steady_clock
  // An engine that has work and finishes no step for so long is not well. More than any step may take.
  double stall_ms = 120'000.0;
};

enum class EngineHealth : uint8_t {
  kWell,
  kStalled,  // there is work, and no step of it ends
  kStopped,  // the model cannot be run any more; nothing is admitted
};

class Engine {
 public:
  Engine(std::unique_ptr<ModelRunner> runner, EngineOptions options = {});
  // Cancels whatever has not ended, so that no reader waits for ever.
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Throws Error when the request can never run: kInvalidArgument for an out-of-range parameter, kLimit for a prompt
  // that is too long. A full queue is an answer.
  Submission submit(GenerateRequest request);
  // What submit() would say, whatever the prompt: nothing while there is room. Costs nothing, so that a server under
  // overload need not tokenise what it will refuse; a refusal counts as one of submit().
  std::optional<Submission> refuse_when_full() { return admission_.refuse_when_full(); }
  // One iteration; false when there was nothing to do. Throws what the model runner throws; then comes recover().
  bool step();
  // After step() threw: ends the requests that it touched with kAborted and forgets its steps, so that the others can
  // go on. False when that is not possible, or has happened too often in a row: then all have ended, and the engine has
  // stopped.
  bool recover();

  // For a thread that sleeps while there is nothing to do: it reads num_wakes(), finds that step() has nothing to do,
  // and waits for another wake(), which every submission gives.
  uint32_t num_wakes() const { return wakes_.load(std::memory_order_acquire); }
  void wait_for_wake(uint32_t seen) const { wakes_.wait(seen, std::memory_order_acquire); }
  void wake() const;

  // Numbers as of the last step. With `with_blocks` the block map too, as of an earlier such call or soon after.
  EngineStatus status(bool with_blocks = false) const;
  EngineHealth health() const;
  // The longest sequence, prompt and completion, that can run here.
  int64_t max_sequence_tokens() const { return admission_.max_sequence_tokens(); }

  const ModelRunner& runner() const { return *runner_; }
  const Scheduler& scheduler() const { return scheduler_; }  // engine thread only

 private:
  void admit_and_cancel();
  void start(Choice& choice);
  void publish(const StartedStep& step);
  void publish(Choice& choice);
  void finish(Choice& choice, std::vector<OutputEvent> events, FinishReason reason);
  void finish_all(FinishReason reason);
  void note_progress(bool has_work);

  const std::unique_ptr<ModelRunner> runner_;
  const EngineOptions options_;
  Scheduler scheduler_;
  Admission admission_;
  Choices choices_;
  ModelExecutor executor_;
  StepLoop loop_;
  StatusCounter counter_;
  int num_failures_ = 0;  // steps that threw since one did not

  mutable std::atomic<uint32_t> wakes_{0};
  std::atomic<bool> has_work_{false};
  std::atomic<bool> is_stopped_{false};
  std::atomic<double> progress_ms_{0.0};  // when a step last began or ended, or a request came to an idle engine
};

}  // namespace quire
