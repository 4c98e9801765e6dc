// Mixture of experts: a router picks experts for every token, and each active expert runs once over all rows that chose
// it, so the cost follows the active experts. A token's expert outputs are added in the order of expert numbers,
// whatever else is in the batch.
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
// smallest. `experts` come out ascending with their weights beside them. `scratch`: [num_experts].
void route(const RouterOptions& options, const float* logits, float* scratch, int32_t* experts, float* weights);

class Moe {
 public:
  RouterOptions options;
  Linear router;  // [num_experts, hidden_size]
  std::vector<Mlp> experts;

  int64_t hidden_size() const { return router.weights.cols; }
  int64_t intermediate_size() const { return experts[0].gate.weights.rows; }

  struct Buffers {
    float* logits = nullptr;       // [max_rows, num_experts]
    float* scratch = nullptr;      // [max_rows, num_experts]
    int32_t* experts = nullptr;    // [max_rows, experts_per_token]
    float* weights = nullptr;      // [max_rows, experts_per_token]
    int32_t* first = nullptr;      // [num_experts + 1] where each expert's rows start in `rows`
    int32_t* rows = nullptr;       // [max_rows * experts_per_token] rows by expert
    float* row_weights = nullptr;  // [max_rows * experts_per_token] beside `rows`
    Q8Buffer input_q8;             // the block's input
    float* gathered = nullptr;     // [max_rows, hidden_size]
    Q8Buffer gathered_q8;
    float* gate = nullptr;  // [max(max_rows, experts_per_token), intermediate_size], as up and inner_q8
    float* up = nullptr;
    Q8Buffer inner_q8;
    float* expert_out = nullptr;  // [max_rows, hidden_size]

    void take(Arena& arena, const Kernels& kernels, int64_t max_rows, const Moe& moe);
  };
  // x [num_rows, hidden_size] -> y, overwritten; x and y differ.
  void apply(const Step& step, const Buffers& buffers, const float* x, float* y) const;

 private:
  bool needs_q8() const;
  void group_rows(const Step& step, const Buffers& buffers) const;
  void run_expert(const Step& step, const Buffers& buffers, const MatmulInput& input, int32_t expert, float* y) const;
  void run_single_row(const Step& step, const Buffers& buffers, const MatmulInput& input, float* y) const;
};

}  // namespace quire
