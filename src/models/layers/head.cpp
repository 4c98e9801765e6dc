#include "models/layers/head.h"

namespace quire {

void Head::take_workspace(Arena& arena, const Kernels& kernels, const StepLimits& limits) {
  rows_ = arena.take<float>(limits.max_logit_rows * norm.dim);
  logits_ = arena.take<float>(limits.max_logit_rows * output.weights.rows);
  q8_.take(arena, kernels, limits.max_logit_rows, norm.dim);
}

const float* Head::apply(const Step& step, const float* x, int64_t num_rows) const {
  if (num_rows == 0) return logits_;
  norm.apply(step, x, num_rows, rows_);
  linear(step, rows_, num_rows, q8_, {{.linear = &output, .y = logits_}});
  if (softcap > 0) step.kernels->softcap(step.exec, logits_, num_rows * output.weights.rows, softcap);
  return logits_;
}

}  // namespace quire
