// The step loop: admit and cancel, plan, run, decode, publish. Sole owner of all mutable serving state.
//
// submit(), status() and the like may be called from any thread; step() from one thread, the engine thread
// (engine_thread.h runs one). After construction the step loop throws nothing: what a request asks wrongly is refused
// by submit().
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "decoding/sampler_scratch.h"
#include "engine/engine_status.h"
#include "engine/output_stream.h"
#include "engine/request.h"
#include "engine/scheduler.h"
#include "models/running/model_runner.h"

namespace quire {

struct EngineOptions {
  SchedulerOptions scheduler = {};               // its limits come from the runner
  int64_t max_queued_requests = 1024;            // waiting, not yet started
  int64_t max_queued_tokens = int64_t{1} << 20;  // of their prompts
  // On a device that runs beside the host: plan and start a step while the one before it runs, as far as that one's
  // tokens need not be known for it. Only faster; off to measure what it brings.
  bool run_ahead = true;
  uint64_t seed = 0;                    // of requests that bring none; each gets a stream of its own
  std::function<double()> now_ms = {};  // the clock; empty: steady_clock
};

enum class Refusal : uint8_t { kNone, kQueueRequests, kQueueTokens };

struct Submission {
  std::shared_ptr<OutputStream> stream = nullptr;  // null when refused
  Refusal refusal = Refusal::kNone;
  double retry_after_ms = 0.0;  // when refused: until about half the queue will have gone, at the measured speed
};

class Engine {
 public:
  Engine(std::unique_ptr<ModelRunner> runner, EngineOptions options = {});
  ~Engine();

  // Throws Error when the request can never run: kInvalidArgument for an out-of-range parameter, kLimit for a prompt
  // that is too long. A full queue is an answer.
  Submission submit(GenerateRequest request);
  // What submit() would say, whatever the prompt: nothing while there is room. Costs nothing, so that a server under
  // overload need not tokenise what it will refuse; a refusal counts as one of submit().
  std::optional<Submission> refuse_when_full();
  // One iteration; false when there was nothing to do.
  bool step();

  // For a thread that sleeps while there is nothing to do: it reads num_wakes(), finds that step() has nothing to do,
  // and waits for another wake(), which every submission gives.
  uint32_t num_wakes() const { return wakes_.load(std::memory_order_acquire); }
  void wait_for_wake(uint32_t seen) const { wakes_.wait(seen, std::memory_order_acquire); }
  void wake() const;

  // Numbers as of the last step. With `with_blocks` the block map too, as of an earlier such call or soon after.
  EngineStatus status(bool with_blocks = false) const;
  // The longest sequence, prompt and completion, that can run here.
  int64_t max_sequence_tokens() const;

  const ModelRunner& runner() const { return *runner_; }
  const Scheduler& scheduler() const { return scheduler_; }  // engine thread only

 private:
  struct Choice;  // one sequence with its sampler and its stream
  // What a step does for a choice.
  struct Part {
    Choice* choice = nullptr;  // null: it has ended since, nobody wants the results
    int64_t first_position = 0;
    int64_t num_tokens = 0;
    bool samples = false;
    size_t first_row = 0;  // among the step's rows with logits; of an embedding, with hidden states
    size_t num_rows = 0;
  };
  // A step from its start to its end.
  struct RunningStep {
    std::vector<Part> parts;
    StepPlan counted;                // without items and moves
    bool samples = false;            // the runner chooses its tokens
    bool tells_tokens_only = false;  // nothing else comes back from it
    double started_ms = 0.0;
  };
  // A choice whose next token is due, which of the step's logit rows tells it, and the token.
  struct Draw {
    Choice* choice;
    size_t row;
    std::optional<SampledToken> token;
  };

  Submission refuse(Refusal refusal);  // with queue_mutex_ held
  void validate(const GenerateRequest& request) const;
  std::unique_ptr<Choice> make_choice(std::shared_ptr<const GenerateRequest> request, uint64_t id, uint64_t seed,
                                      int index) const;
  void admit_and_cancel();
  std::optional<RunningStep> start_step();
  bool promise_tokens(const RunningStep& step);
  void carry_out(const std::vector<StepPlan::Move>& moves);
  void fill_batch(const StepPlan& plan, RunningStep& step);
  void wish_for_tokens(const RunningStep& step);
  void start_clock(Choice& choice);
  void decode(const RunningStep& step);
  void collect_prompt_rows(Choice& choice, const Part& part);
  void collect_hidden_rows(Choice& choice, const Part& part);
  void fork_choices(Choice& parent, size_t row);
  void choose_tokens(bool were_chosen);
  void take(Draw& draw);
  void publish(Choice& choice, OutputEvent event);
  void finish(Choice& choice, OutputEvent event, FinishReason reason);
  void end(Choice& choice);
  void end_padding();
  void leave_queue(Choice& choice);
  std::span<const float> logits_of(size_t row) const;
  void update_status(const StepPlan& counted, double plan_ms, double run_ms, double decode_ms);

  std::unique_ptr<ModelRunner> runner_;
  EngineOptions options_;
  Scheduler scheduler_;
  mutable std::atomic<uint32_t> wakes_{0};
  std::unordered_map<const Sequence*, std::unique_ptr<Choice>> choices_;
  Batch batch_;
  std::span<const float> logits_;
  std::optional<RunningStep> running_;           // between calls of step(): the one that was started ahead
  std::optional<RunningStep> next_;              // started while running_ was
  double last_ran_ms_ = 0.0;                     // when the step before running_ had run
  std::vector<Draw> draws_;                      // of the step that ran
  std::vector<SamplerScratch> sampler_scratch_;  // of each of the runner's host threads

  std::atomic<int64_t> queued_requests_{0};  // submitted, not yet started
  std::atomic<int64_t> queued_tokens_{0};    // of their prompts
  std::mutex queue_mutex_;
  std::vector<std::unique_ptr<Choice>> queue_;  // arrived, not yet seen by the engine thread
  uint64_t next_id_ = 0;

  EngineStatus counted_;                         // engine thread only
  double last_finish_ms_ = 0.0;                  // engine thread only
  std::atomic<double> finish_interval_ms_{0.0};  // between the ends of requests, lately
  std::atomic<int64_t> refused_requests_{0};
  std::atomic<int64_t> refused_tokens_{0};
  mutable std::mutex status_mutex_;
  EngineStatus status_;  // what counted_ was after the last step
  mutable std::atomic<bool> wants_blocks_{false};
};

}  // namespace quire
