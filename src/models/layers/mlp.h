// The gated feed-forward block: down(activation(gate(x)) * up(x)).
#pragma once

#include "models/layers/linear.h"

namespace quire {

class Mlp {
 public:
  Linear gate;  // [intermediate_size, hidden_size]
  Linear up;    // [intermediate_size, hidden_size]
  Linear down;  // [hidden_size, intermediate_size]
  Activation activation = Activation::kSilu;

  InputForms input_forms() const { return forms_read_by({&gate, &up}); }

  // x [num_rows, hidden_size] in its input forms -> y, written or added to. Uses `buffers` until it returns.
  struct Buffers {
    float* gate = nullptr;  // [max_rows, intermediate_size]
    float* up = nullptr;    // [max_rows, intermediate_size]
    PackedRows packed;      // of down's input

    void take(Arena& arena, const Kernels& kernels, int64_t max_rows, int64_t intermediate_size);
  };
  void apply(const Step& step, const Buffers& buffers, const LinearInput& x, float* y, bool accumulate) const;
};

}  // namespace quire
