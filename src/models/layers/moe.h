// Mixture of experts: a router picks experts for every token, and each active expert runs once over all rows that chose
// it, all of them in one kernel call, so the cost follows the active experts. A token's expert outputs are added in the
// order of expert numbers, whatever else is in the batch.
#pragma once

#include <vector>

#include "models/layers/mlp.h"

namespace quire {

class Moe {
 public:
  Routing routing;
  Linear router;  // [num_experts, hidden_size]
  std::vector<Mlp> experts;
  // [num_experts] each, on the device: the experts' matrices by kind.
  const PackedMatrix* gates = nullptr;
  const PackedMatrix* ups = nullptr;
  const PackedMatrix* downs = nullptr;
  // Whether any expert's matrix has a column order; a file can order some and not others.
  bool any_column_order = false;
  // Those orders, [num_experts] each, on the device; null for matrices without one.
  const int32_t* const* gate_columns = nullptr;
  const int32_t* const* up_columns = nullptr;
  const int32_t* const* down_columns = nullptr;

  int64_t hidden_size() const { return router.weights.cols; }
  int64_t intermediate_size() const { return experts[0].gate.weights.rows; }

  InputForms input_forms() const;

  // Slots are processed in waves of consecutive experts, as many as fit the wave's rows. On a device the host does not
  // know the counts, so the wave has room for all slots.
  struct Buffers {
    bool on_host = true;
    float* logits = nullptr;  // [max_rows, num_experts], then the probabilities
    ExpertSlots choices;
    int64_t wave_rows = 0;
    float* gathered = nullptr;  // [wave_rows, hidden_size]
    PackedRows packed_gathered;
    float* gate = nullptr;  // [wave_rows, intermediate_size]
    float* up = nullptr;
    PackedRows packed_inner;
    float* expert_out = nullptr;  // [wave_rows, hidden_size]

    void take(Arena& arena, const Kernels& kernels, const StepLimits& limits, const Moe& moe);
  };
  // x [num_rows, hidden_size] in its input forms -> y, overwritten.
  void apply(const Step& step, const Buffers& buffers, const MatmulInput& x, float* y) const;

 private:
  // Experts [first, last) and their slots.
  struct Wave {
    int32_t first_expert = 0;
    int32_t last_expert = 0;
    int32_t first_slot = 0;
    int32_t last_slot = 0;

    int64_t num_slots() const { return last_slot - first_slot; }
  };
  InputForms gathered_forms() const;
  Wave next_wave(const Buffers& buffers, int64_t num_slots, int32_t first_expert) const;
  void gather(const Step& step, const Buffers& buffers, const MatmulInput& x, const Wave& wave) const;
  void run_wave(const Step& step, const Buffers& buffers, const Wave& wave) const;
  // With column orders, expert by expert; on the host, which knows the number of rows of each.
  void run_ordered_wave(const Step& step, const Buffers& buffers, const Wave& wave) const;
  // The same for all experts together, on a device.
  void run_ordered_slots(const Step& step, const Buffers& buffers, const MatmulInput& x) const;
};

}  // namespace quire
