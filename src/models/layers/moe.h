// Mixture of experts: a router picks experts for every token, and each active expert runs once over all rows that chose
// it, all of them in one kernel call, so the cost follows the active experts. A token's expert outputs are added in the
// order of expert numbers, whatever else is in the batch.
#pragma once

#include <vector>

#include "models/layers/mlp.h"

namespace quire {

struct RouterOptions {
  int num_experts = 0;
  int experts_per_token = 0;
  bool normalize = true;  // the chosen weights are divided by their sum
};

// Softmax over all experts, then the experts_per_token largest, the lower number first among equals. NaN counts as the
// smallest. `experts` come out ascending with their weights beside them. Overwrites `logits`.
void route(const RouterOptions& options, float* logits, int32_t* experts, float* weights);

class Moe {
 public:
  RouterOptions options;
  Linear router;  // [num_experts, hidden_size]
  std::vector<Mlp> experts;
  // Whether any expert's matrix has a column order; a file can order some and not others. Then experts go one by one.
  bool any_column_order = false;

  int64_t hidden_size() const { return router.weights.cols; }
  int64_t intermediate_size() const { return experts[0].gate.weights.rows; }

  InputForms input_forms() const;

  // A slot is one choice of one row. Slots are sorted by expert and worked off in waves of neighbouring experts, as
  // many as the wave's rows have room for.
  struct Buffers {
    float* logits = nullptr;          // [max_rows, num_experts], then the probabilities
    int32_t* experts = nullptr;       // [max_rows, experts_per_token]
    float* weights = nullptr;         // [max_rows, experts_per_token]
    int32_t* slots = nullptr;         // [max_rows, experts_per_token]
    int32_t* rows = nullptr;          // the row of every slot
    int32_t* first = nullptr;         // [num_experts + 1] where each expert's slots start
    MatmulInput* inputs = nullptr;    // [num_experts] of a wave
    MatmulOutput* outputs = nullptr;  // [2 * num_experts] of a wave
    int64_t wave_rows = 0;
    float* gathered = nullptr;  // [wave_rows, hidden_size]
    Q8Buffer gathered_q8;
    float* gate = nullptr;  // [wave_rows, intermediate_size]
    float* up = nullptr;
    Q8Buffer inner_q8;
    float* expert_out = nullptr;  // [wave_rows, hidden_size]

    void take(Arena& arena, const Kernels& kernels, int64_t max_rows, const Moe& moe);
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
  };
  void assign_slots(const Buffers& buffers, int64_t num_rows) const;
  Wave next_wave(const Buffers& buffers, int32_t first_expert) const;
  void gather(const Step& step, const Buffers& buffers, const MatmulInput& x, const Wave& wave) const;
  void run_wave(const Step& step, const Buffers& buffers, const MatmulInput& x, const Wave& wave) const;
};

}  // namespace quire
