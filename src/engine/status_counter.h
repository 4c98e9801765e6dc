// Counts what an engine does, and hands copies of the counts to other threads.
//
// read(): any thread. The rest: engine thread.
#pragma once

#include <atomic>
#include <mutex>

#include "engine/choice.h"
#include "engine/engine_status.h"
#include "engine/scheduler.h"

namespace quire {

class StatusCounter {
 public:
  // A step's time by part.
  struct StepTimes {
    double plan_ms = 0.0;
    double run_ms = 0.0;
    double decode_ms = 0.0;
  };

  explicit StatusCounter(const Scheduler& scheduler);

  void count_start(const Sequence& sequence);
  void count_tokens(int64_t num_tokens) { counted_.generated_tokens += num_tokens; }
  void count_finish(FinishReason reason);
  void count_failed_step() { ++counted_.num_failed_steps; }
  void count_step(const StepShape& shape, const StepTimes& times);
  // What readers see from now on.
  void publish(const Scheduler& scheduler);

  EngineStatus read(bool with_blocks) const;
  // Blocks are mapped at the next publish().
  void ask_for_blocks() const { wants_blocks_ = true; }

 private:
  EngineStatus counted_;
  mutable std::mutex mutex_;
  EngineStatus published_;
  mutable std::atomic<bool> wants_blocks_{false};
};

}  // namespace quire
