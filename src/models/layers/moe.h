// Mixture of experts: a router picks experts for every token, and each active expert runs once over all rows that chose
// it, all of them in one kernel call, so the cost follows the active experts. A token's expert outputs are added in the
// order of expert numbers, whatever else is in the batch.
#pragma once

#include <initializer_list>
#include <memory>
#include <vector>

#include "models/layers/mlp.h"

namespace quire {

class Moe {
 public:
  // The experts' matrices of one kind, [num_experts] on the device.
  struct Matrices {
    std::shared_ptr<const PackedMatrix[]> experts;
    std::shared_ptr<const int32_t* const[]> columns;  // Linear::columns of each; null: none has an order
    InputForms reads;                                 // packed rows in the order of each expert's columns
  };

  Routing routing;
  Linear router;  // [num_experts, hidden_size]
  std::vector<Mlp> experts;
  Matrices gates;
  Matrices ups;  // the same `columns` as gates where each expert has one order for both
  Matrices downs;

  int64_t hidden_size() const { return router.weights.cols; }
  int64_t intermediate_size() const { return experts[0].gate.weights.rows; }

  InputForms input_forms() const;

  // Assignments are processed in waves of consecutive experts, as many as fit the wave's rows
  // (Kernels::enough_expert_rows).
  struct Buffers {
    float* logits = nullptr;  // [max_rows, num_experts], then the probabilities
    ExpertAssignments choices;
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
  void apply(const Step& step, const Buffers& buffers, const LinearInput& x, float* y) const;

 private:
  // Experts [first, last) and their assignments.
  struct Wave {
    int32_t first_expert = 0;
    int32_t last_expert = 0;
    int32_t first_assignment = 0;
    int32_t last_assignment = 0;

    int64_t num_assignments() const { return last_assignment - first_assignment; }
    int num_experts() const { return last_expert - first_expert; }
  };
  Wave next_wave(const Buffers& buffers, int64_t num_assignments, int32_t first_expert) const;
  void run_wave(const Step& step, const Buffers& buffers, const MatmulInput& x, const Wave& wave) const;
  // The rows of x that the wave's assignments chose, in the forms that are read.
  MatmulInput gather(const Step& step, const Buffers& buffers, const MatmulInput& x, const Wave& wave, InputForms reads,
                     const int32_t* const* columns) const;
  // Tells the step's observer of the rows [num_assignments, cols] that the wave's experts multiply by `kinds`.
  void tell_observer(const Step& step, const Buffers& buffers, const MatmulInput& x, const Wave& wave,
                     std::initializer_list<Linear Mlp::*> kinds) const;
  // activation(gate) * up of the wave's assignments.
  MatmulInput inner_product(const Step& step, const Buffers& buffers, const Wave& wave) const;
};

}  // namespace quire
