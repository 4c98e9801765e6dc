// Hidden states to logits: the final norm and the output matrix.
#pragma once

#include "models/layers/linear.h"
#include "models/layers/norm.h"
#include "models/model.h"

namespace quire {

class Head {
 public:
  Norm norm;
  Linear output;         // [vocab_size, hidden_size]; no rows: the model gives hidden states only
  float softcap = 0.0f;  // > 0: cap * tanh(logit / cap)

  void take_workspace(Arena& arena, const Kernels& kernels, const StepLimits& limits);
  // x: the step's wanted rows [num_wanted_rows, hidden_size]. Returns logits, valid until the next call, and final
  // hidden states in `hidden`, which has room for max_hidden_rows.
  Model::Output apply(const Step& step, const float* x, float* hidden) const;

 private:
  float* rows_ = nullptr;    // [max_wanted_rows, hidden_size]
  float* logits_ = nullptr;  // [max_logit_rows, vocab_size]
  PackedRows packed_;
};

}  // namespace quire
