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
  // x [num_rows, hidden_size], num_rows <= max_logit_rows -> logits of the first num_logit_rows [num_logit_rows,
  // vocab_size], final hidden states of the others [num_rows - num_logit_rows, hidden_size]; valid until the next call.
  Model::Output apply(const Step& step, const float* x, int64_t num_rows, int64_t num_logit_rows) const;

 private:
  float* rows_ = nullptr;    // [max_logit_rows, hidden_size]
  float* logits_ = nullptr;  // [max_logit_rows, vocab_size]
  PackedRows packed_;
};

}  // namespace quire
