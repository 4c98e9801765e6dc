// A model measured, not loaded: what its options come to on this machine and the memory that it takes.
#pragma once

#include "kernels/select.h"
#include "models/kv_cache.h"
#include "models/loading/checkpoint.h"
#include "models/model.h"
#include "models/runner_options.h"
#include "models/step.h"

namespace quire {

struct MeasuredModel {
  Backend backend;  // of rank 0
  ModelInfo info;
  RunnerOptions options;  // with every 0 and empty name replaced by what was chosen
  MemoryPlan plan;
  // Of one rank; of rank 0, which has most:
  KvShape kv;
  uint64_t weight_bytes = 0;
  uint64_t input_bytes = 0;
  uint64_t workspace_bytes = 0;  // without these
};

// Reads headers. Throws Error for an architecture, format or configuration this build does not know.
MeasuredModel measure(const Checkpoint& checkpoint, const RunnerOptions& asked);

// Of a rank. `options` resolved.
StepLimits limits_of(const RunnerOptions& options, bool on_host);

}  // namespace quire
