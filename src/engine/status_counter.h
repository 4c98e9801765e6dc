// Counts the engine's work, and gives copies of the counts to other threads.
//
// read(): any thread. The rest: engine thread.
#pragma once

#include <atomic>
#include <mutex>

#include "engine/choice.h"
#include "engine/engine_status.h"
#include "engine/kv_store_client.h"
#include "engine/scheduler.h"

namespace quire {

class StatusCounter {
 public:
  // The parts of a step's time.
  struct StepTimes {
    double plan_ms = 0.0;
    double run_ms = 0.0;
    double decode_ms = 0.0;
  };

  explicit StatusCounter(const Scheduler& scheduler);

  void count_start(const Sequence& sequence);
  void count_tokens(int64_t num_tokens) { counted_.generated_tokens += num_tokens; }
  // A step has verified drafts of a sequence.
  void count_drafts(int64_t num_verified, int64_t num_accepted);
  void count_finish(FinishReason reason);
  void count_failed_step() { ++counted_.num_failed_steps; }
  void count_step(const StepShape& shape, const StepTimes& times);
  // Makes the present counts visible to read(). `kv_store`: null where there is none.
  void publish(const Scheduler& scheduler, const KvStoreClient* kv_store = nullptr);

  EngineStatus read(bool with_blocks) const;
  // The next publish() includes the block map.
  void ask_for_blocks() const { wants_blocks_ = true; }

 private:
  EngineStatus counted_;
  mutable std::mutex mutex_;
  EngineStatus published_;
  mutable std::atomic<bool> wants_blocks_{false};
};

}  // namespace quire
