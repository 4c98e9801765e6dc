#include "models/layers/head.h"

namespace quire {

void Head::take_workspace(Arena& arena, const Kernels& kernels, const StepLimits& limits) {
  rows_ = arena.take<float>(limits.max_logit_rows * norm.dim);
  logits_ = arena.take<float>(limits.max_logit_rows * output.weights.rows);
  packed_.take(arena, kernels, limits.max_logit_rows, norm.dim);
}

Model::Output Head::apply(const Step& step, const float* x, int64_t num_rows, int64_t num_logit_rows) const {
  const Model::Output result = {logits_, rows_ + num_logit_rows * norm.dim};
  if (num_rows == 0) return result;
  norm.apply(step, x, num_rows, rows_);
  if (num_logit_rows == 0 || output.weights.rows == 0) return result;
  linear(step, plain_input(step, rows_, num_logit_rows, norm.dim, forms_read_by({&output}), packed_),
         {{.linear = &output, .y = logits_}});
  if (softcap > 0) step.kernels->softcap(step.exec, logits_, num_logit_rows * output.weights.rows, softcap);
  return result;
}

}  // namespace quire
