// The arithmetic of the ledger: what is fixed, how many KV blocks fit beside it, and what to say when too few do.
//
// A group of layers that sees everything has as many blocks as were asked for or fit. One with a window has, and never
// more than that: for every sequence its window, a block at either end of it and the tokens of a step; and for every
// sequence of full length that the other groups may hold, one window more, so that what the prefix cache knows of it
// can be used.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "models/kv_layout.h"
#include "models/planning/stream_plan.h"
#include "models/runner_options.h"

namespace quire {

struct PlanInput {
  uint64_t weight_bytes = 0;
  std::vector<uint64_t> sections = {};  // where those of the weights begin; empty: all weights must stay in memory
  uint64_t mapped_bytes = 0;
  uint64_t workspace_bytes = 0;
  uint64_t sampling_bytes = 0;
  std::vector<KvGroup> kv;     // of all ranks
  bool swap_on_device = true;  // the swap space lies in the memory that is planned
  uint64_t allowed_bytes = 0;
};

// `options` resolved except num_blocks and num_swap_blocks. Blocks are as many as asked for, or chosen: enough for
// every sequence at full length, fewer when memory ends before, and at least one sequence's.
MemoryPlan plan_memory(const PlanInput& input, const RunnerOptions& options);
// The same where weights that do not fit are left on the disk. They are, where all of them together would leave too
// little for the KV of one sequence of full length, or less than an eighth of the memory for shorter ones; KV then has
// a quarter of the memory, or as much as was asked for, and layers the rest. `stream` has what the ledger counts.
MemoryPlan plan_memory(const PlanInput& input, const RunnerOptions& options, std::optional<StreamPlan>& stream);
// At most five lines: what was asked, what is there, what would fit.
std::string refusal_text(const std::string& model_name, const MemoryPlan& plan);

}  // namespace quire
