// Command line flags of the scheduler, for every command that runs many sequences.
#pragma once

#include <optional>
#include <string>

#include "apps/flags/command.h"
#include "engine/scheduler.h"
#include "models/running/model_runner.h"

namespace quire {

struct SchedulingOptions {
  std::string target = "balanced";
  double itl_target_ms = 0.0;
  std::string policy = "fcfs";
  bool chunked_prefill = true;
  bool prefix_caching = true;
  std::string static_batching = "off";
  std::string preemption = "cheapest";
  std::string eviction = "lru";
  std::optional<uint64_t> swap_bytes;
  bool run_ahead = true;
  const Command* command = nullptr;

  void add(Command& to);
  void add_run_ahead(Command& to);  // for commands with an engine
  // Has a new random hash key, so cached prefixes are found again within one engine only. Throws Error for a bad name.
  SchedulerOptions scheduler_options() const;
  // Batch size by target where the command line gives none, swap space, and rows for the log probabilities of prompts.
  void apply_to(RunnerOptions& options) const;
};

}  // namespace quire
