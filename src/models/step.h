// One step as the layers see it: where to compute and which rows belong where. Filled by the model runner, read by
// every layer; rows are the batch's tokens in order.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/kernels.h"
#include "models/kv_cache.h"
#include "models/layer_weights.h"
#include "parallel/communicator.h"
#include "tensor/device.h"

namespace quire {

// The most a step may ask for; workspaces are sized by it.
struct StepLimits {
  int num_threads = 1;
  int64_t max_rows = 0;         // tokens
  int64_t max_logit_rows = 0;   // tokens whose logits are wanted
  int64_t max_hidden_rows = 0;  // tokens whose final hidden states are wanted, and tokens whose tapped layers are
  int64_t max_sequences = 0;    // without branches
  int64_t max_branches = 0;     // Batch::Sequence::branch_of
  int64_t max_context = 0;      // positions of one sequence
  int num_kv_groups = 1;
  // Positions whose rotary angles are kept, computed once: a device would wait while the host computes them. 0: none.
  int64_t remembered_positions = 0;
  std::vector<int> tapped_layers = {};  // RunnerOptions::tapped_layers
  int64_t hidden_input_size = 0;        // ModelInfo::hidden_input_size

  // Tokens whose output is wanted in any form.
  int64_t max_wanted_rows() const { return std::min(max_rows, max_logit_rows + max_hidden_rows); }
  auto num_taps() const { return static_cast<int64_t>(tapped_layers.size()); }
};

// Where the layers of a KV group find and put K and V.
struct KvGroupRows {
  const int64_t* slots = nullptr;                // [num_rows] where K and V go: block * kKvBlockSize + offset
  const AttentionSequence* sequences = nullptr;  // [num_sequences]
  const KvCopy* copies = nullptr;                // [num_copies] what branches need of others, once K and V are written
  int64_t num_copies = 0;
};

struct Linear;

// Is told of the rows that matrices multiply, before they do: for calibration. Called by the thread that runs the step.
class InputObserver {
 public:
  virtual ~InputObserver() = default;
  // All of `matrices` multiply the same rows, x [num_rows, cols].
  virtual void observe(std::span<const Linear* const> matrices, const float* x, int64_t num_rows) = 0;
};

struct Step {
  const Kernels* kernels = nullptr;
  Exec exec{};
  Device* device = nullptr;
  KvCache* kv = nullptr;
  Communicator* communicator = &single_communicator();
  // Null where nothing calibrates. Else all matrices are F32 on the host, so that every input exists as floats.
  InputObserver* observer = nullptr;
  LayerWeights* layer_weights = nullptr;  // null where all are in memory

  int input_buffer = 0;  // StepInput::host
  int64_t num_rows = 0;
  // In the host's memory:
  const int64_t* positions = nullptr;  // [num_rows] position in the row's sequence
  const uint8_t* is_long = nullptr;    // [num_rows] whether the row's sequence is longer than the RoPE switch
  // In the device's, like all that kernels read:
  EmbeddedTokens tokens = {};                   // [num_rows]
  std::span<const KvGroupRows> kv_groups = {};  // the list itself lies in the host's
  int64_t num_sequences = 0;                    // branches are sequences too
  int64_t max_sequence_rows = 0;                // no sequence has more rows
  int64_t max_context = 0;                      // none reaches further in this step
  bool share_prefixes = true;                   // see AttentionArgs
  bool begin_alike = false;                     // likewise

  const float* hidden_input = nullptr;  // [num_rows, hidden_input_width]
  int64_t hidden_input_width = 0;       // 0: none

  // First those whose logits are wanted, then others whose final hidden states are.
  const int32_t* wanted_rows = nullptr;  // [num_wanted_rows]
  int64_t num_wanted_rows = 0;
  int64_t num_logit_rows = 0;
  const int32_t* hidden_places = nullptr;  // [num_hidden_rows] which of wanted_rows each of them is
  int64_t num_hidden_rows = 0;             // whose final hidden states are wanted
  const int32_t* tapped_rows = nullptr;    // [num_tapped_rows] whose residual stream is wanted before tapped layers
  const int32_t* tap_places = nullptr;     // [num_tapped_rows, num_taps]: tap * num_tapped_rows + row
  int64_t num_tapped_rows = 0;
  bool wants_output = true;  // of this rank; else the head has nothing to do
};

// Runs body(task) for tasks in [0, num_tasks) on the step's threads.
template <typename Body>
void parallel_for(const Exec& exec, int64_t num_tasks, const Body& body) {
  exec.run(
      exec.pool, num_tasks, [](void* context, int64_t task, int) { (*static_cast<const Body*>(context))(task); },
      const_cast<void*>(static_cast<const void*>(&body)));
}

// The same for cheap rows: body(row) for rows in [0, num_rows), `per_task` of them in turn.
template <typename Body>
void for_rows(const Exec& exec, int64_t num_rows, int64_t per_task, const Body& body) {
  parallel_for(exec, (num_rows + per_task - 1) / per_task, [&](int64_t task) {
    const int64_t end = std::min(num_rows, (task + 1) * per_task);
    for (int64_t row = task * per_task; row < end; ++row) body(row);
  });
}

}  // namespace quire
