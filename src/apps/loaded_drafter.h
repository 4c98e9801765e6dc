// A model and its drafter as the commands plan and load them: the drafter depends on what the model has room for, and
// the model on the memory that the drafter takes and on the hidden states that it reads.
#pragma once

#include <memory>

#include "drafting/drafter.h"
#include "drafting/speculation_options.h"
#include "models/loading/checkpoint.h"
#include "models/running/model_runner.h"

namespace quire {

struct PlannedModels {
  MemoryPlan target;           // in the memory that the drafter leaves
  uint64_t drafter_bytes = 0;  // 0: none is loaded

  uint64_t total_bytes() const { return target.total_bytes + drafter_bytes; }
  uint64_t allowed_bytes() const { return target.allowed_bytes + drafter_bytes; }
};

// Loads no weights. Throws Error for a drafter that does not go with the target, but does not compare vocabularies.
PlannedModels plan_with_drafter(const SpeculationOptions& options, const Checkpoint& target,
                                const RunnerOptions& target_options);
// Compares them too.
PlannedModels check_with_drafter(const SpeculationOptions& options, const Checkpoint& target,
                                 const RunnerOptions& target_options);

struct LoadedModels {
  std::unique_ptr<Checkpoint> drafter_checkpoint;  // must outlive the engine that has the drafter. Or none
  std::unique_ptr<ModelRunner> target;             // must outlive the drafter
  std::unique_ptr<Drafter> drafter;  // none where the engine makes it from its options, or nothing is drafted
};

// Loads the target, and the model of the drafter that the options name, if it has one, of which a line on standard
// error says so. A method that is not named is set to what the checkpoint is made for. Throws Error for a drafter that
// does not go with the target, before it loads either.
LoadedModels load_with_drafter(SpeculationOptions& options, const Checkpoint& target,
                               const RunnerOptions& target_options);

}  // namespace quire
