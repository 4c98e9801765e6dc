// The engine: takes requests and produces tokens. Each step admits and cancels, plans, runs, decodes and publishes. It
// is the only owner of mutable serving state.
//
// submit(), refuse_when_full(), wake(), status() and health() may be called from any thread; step() and recover() from
// one thread, the engine thread (engine_thread.h runs one). submit() refuses invalid requests; step() throws only when
// the model cannot be run.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "drafting/drafter.h"
#include "drafting/speculation_options.h"
#include "engine/admission.h"
#include "engine/kv_store_client.h"
#include "engine/model_executor.h"
#include "engine/output_stream.h"
#include "engine/speculation.h"
#include "engine/status_counter.h"
#include "engine/step_loop.h"

namespace quire {

struct EngineOptions {
  SchedulerOptions scheduler = {};               // its limits come from the runner
  int64_t max_queued_requests = 1024;            // waiting, not yet started
  int64_t max_queued_tokens = int64_t{1} << 20;  // in the prompts of these requests
  // On a device that runs beside the host: plan and start a step while the one before it runs, if it does not depend on
  // that step's tokens. This changes the speed only; switch it off to measure its effect.
  bool run_ahead = true;
  SpeculationOptions speculation = {};
  // Makes the store of KV blocks beyond the pool, when the model has been loaded; empty: there is none. Only on the
  // host.
  std::function<std::unique_ptr<BlockStore>(ModelRunner& runner)> make_store = {};
  uint64_t seed = 0;                    // for requests without a seed; each gets its own random stream
  std::function<double()> now_ms = {};  // the clock, read by any thread; empty: steady_clock
  // An engine that has work and finishes no step for this long is unhealthy. Must exceed the longest step.
  double stall_ms = 120'000.0;
};

enum class EngineHealth : uint8_t {
  kHealthy,
  kStalled,  // there is work, but no step has finished for EngineOptions::stall_ms
  kStopped,  // the model cannot be run any more; nothing is admitted
};

class Engine {
 public:
  // Throws what make_drafter() throws. `drafter`: one that the caller has made, because it has a model of its own.
  Engine(std::unique_ptr<ModelRunner> runner, EngineOptions options = {}, std::unique_ptr<Drafter> drafter = nullptr);
  // Cancels every choice that has not ended, so that no reader waits for ever.
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Throws Error when the request can never run: kInvalidArgument for an out-of-range parameter, kLimit for a prompt
  // that is too long. A full queue is a return value.
  Submission submit(GenerateRequest request, Entry entry = Entry::kNew);
  // Throws what submit() would: a list is checked as a whole before its first request is submitted.
  void validate(const GenerateRequest& request) const { admission_.validate(request); }
  // The refusal that submit() would return for any prompt now, or nothing while the queue has room. It is cheap, so
  // that a server under overload need not tokenise a prompt that it will refuse. Refusals are counted like those of
  // submit().
  std::optional<Submission> refuse_when_full() { return admission_.refuse_when_full(); }
  // Runs one step; false when there was nothing to do. Throws what the model runner throws; then call recover().
  bool step();
  // After step() threw: ends the requests of the steps in flight with kAborted and forgets these steps, so that the
  // other requests can go on. False when that is not possible, or after several failures in a row: then every request
  // has ended and the engine has stopped.
  bool recover();

  // How the listeners of output streams are called: all that a step has something for, at once, when it has ended;
  // those of requests that end without it, before it.
  // `tell` gets them on the engine thread and may call them on another one, also after the engine has gone. Without it
  // the engine thread calls them. Set before the first step.
  using Listeners = std::vector<std::shared_ptr<const OutputStream::Listener>>;
  void on_events(std::function<void(Listeners)> tell) { tell_ = std::move(tell); }

  // For a thread that sleeps while there is nothing to do: it reads num_wakes(), finds that step() has nothing to do,
  // and waits for the next wake(). Every submission calls wake().
  uint32_t num_wakes() const { return wakes_.load(std::memory_order_acquire); }
  void wait_for_wake(uint32_t seen) const { wakes_.wait(seen, std::memory_order_acquire); }
  void wake() const;
  // Whether requests wait for a store that brings their KV blocks: step() must be called again without a wake().
  bool is_fetching() const { return store_client_ != nullptr && store_client_->is_fetching(); }

  // Numbers as of the last step. `with_blocks` adds the block map, as it was at or soon after an earlier such call.
  EngineStatus status(bool with_blocks = false) const;
  EngineHealth health() const;
  // The longest sequence, prompt and completion, that can run here.
  int64_t max_sequence_tokens() const { return admission_.max_sequence_tokens(); }

  const ModelRunner& runner() const { return *runner_; }
  const Scheduler& scheduler() const { return scheduler_; }  // engine thread only

 private:
  void take_arrived();
  void admit_and_cancel();
  void start(Choice& choice);
  void publish(const StartedStep& step);
  void publish(Choice& choice, double now);
  // Beams (engine_beams.cpp).
  void settle_beams(const StartedStep& step);
  void advance(BeamGroup& group);
  void finish(std::shared_ptr<BeamGroup> group, FinishReason reason);
  void finish(Choice& choice, std::vector<OutputEvent> events, FinishReason reason);
  void finish_all(FinishReason reason);
  void push(OutputStream& stream, std::span<OutputEvent> events);
  void tell_listeners();
  void note_progress(bool has_work);

  const std::unique_ptr<ModelRunner> runner_;
  const EngineOptions options_;
  Scheduler scheduler_;
  Admission admission_;
  Speculation speculation_;
  std::unique_ptr<KvStoreClient> store_client_;  // null: no store
  Choices choices_;
  ModelExecutor executor_;
  StepLoop loop_;
  StatusCounter counter_;
  Listeners listeners_;  // to be called when the step has ended
  std::function<void(Listeners)> tell_;
  int num_failures_ = 0;  // consecutive steps that threw

  mutable std::atomic<uint32_t> wakes_{0};
  std::atomic<bool> has_work_{false};
  std::atomic<bool> is_stopped_{false};
  // When a step last began or ended, or a request came while the engine was idle.
  std::atomic<double> progress_ms_{0.0};
};

}  // namespace quire
