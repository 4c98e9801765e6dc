// A drafter as the commands load it, before the target model, whose memory and rows depend on it.
#pragma once

#include <memory>

#include "drafting/drafter.h"
#include "drafting/speculation_options.h"
#include "models/loading/checkpoint.h"
#include "models/runner_options.h"

namespace quire {

struct LoadedDrafter {
  std::unique_ptr<Checkpoint> checkpoint;  // its own; must outlive the engine that has the drafter. Or none
  std::unique_ptr<Drafter> drafter;        // none where the engine makes it from its options, or nothing is drafted
  uint64_t memory_bytes = 0;               // of its ledger, beside the target's
};

// What load_drafter() would take beside the target, from headers alone; 0 where nothing is loaded.
uint64_t plan_drafter(SpeculationOptions options, const Checkpoint& target, const RunnerOptions& target_options);

// The target's options with the memory that a drafter of so many bytes leaves it, out of what `alone`, its plan without
// one, may take.
RunnerOptions beside_drafter(RunnerOptions target_options, const MemoryPlan& alone, uint64_t drafter_bytes);

// Loads the model of the drafter that the options name, if it has one, and says so in a line on standard error.
// A method that is not named is set to what the checkpoint is made for. `target_options` are changed so that the
// target, loaded with them, leaves the drafter its memory and computes what it reads. Throws Error for a drafter that
// does not go with the target.
LoadedDrafter load_drafter(SpeculationOptions& options, const Checkpoint& target, RunnerOptions& target_options);

}  // namespace quire
