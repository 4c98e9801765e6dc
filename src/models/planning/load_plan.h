// What loading a model will take, computed from its headers: the options with every default resolved for this machine,
// and the memory. ModelRunner::load follows the plan; `quire plan` prints it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/thread_placement.h"
#include "kernels/select.h"
#include "models/kv_layout.h"
#include "models/loading/checkpoint.h"
#include "models/loading/weight_cache.h"
#include "models/loading/weights_wanted.h"
#include "models/model.h"
#include "models/planning/stream_plan.h"
#include "models/runner_options.h"
#include "models/step.h"

namespace quire {

struct LoadPlan {
  Backend backend;  // of rank 0
  ModelInfo info;
  std::vector<std::string> unused_tensors;  // TensorSource::unused_tensors
  RunnerOptions options;                    // with every 0 and empty name replaced by what was chosen
  ThreadPlaces places;                      // of the threads of all ranks, one rank after the other; or empty
  MemoryPlan memory;                        // of all ranks together
  std::optional<StreamPlan> stream;         // where layers are read while a step runs
  // Of one rank (rank 0, which has most):
  KvLayout kv;
  uint64_t weight_bytes = 0;
  uint64_t input_bytes = 0;
  uint64_t workspace_bytes = 0;  // without input_bytes
};

// Reads headers, not weights. Throws Error for an architecture, format or configuration this build does not know.
// Where the memory does not suffice, memory.fits is false.
LoadPlan plan_load(const Checkpoint& checkpoint, const RunnerOptions& asked);

WeightsWanted weights_wanted(const RunnerOptions& options, int rank);

// Of rank `index`.
BackendChoice backend_choice(const RunnerOptions& options, int index = 0);

// Of one rank; nothing for a device other than the host, for a stage, or where the options want none.
std::optional<WeightCache> weight_cache_of(const Checkpoint& checkpoint, const LoadPlan& plan, const Kernels& kernels,
                                           const Device& device, int rank);

// Of one rank.
StepLimits limits_of(const LoadPlan& plan, bool on_host);

}  // namespace quire
