#include "models/layers/head.h"

namespace quire {

void Head::take_workspace(Arena& arena, const Kernels& kernels, const StepLimits& limits) {
  rows_ = arena.take<float>(limits.max_wanted_rows() * norm.dim);
  logits_ = arena.take<float>(limits.max_logit_rows * output.weights.rows);
  packed_.take(arena, kernels, limits.max_logit_rows, norm.dim);
}

Model::Output Head::apply(const Step& step, const float* x, float* hidden) const {
  const Model::Output result = {.logits = logits_, .hidden = hidden};
  if (step.num_wanted_rows == 0) return result;
  norm.apply(step, x, step.num_wanted_rows, rows_);
  if (step.num_hidden_rows > 0) {
    step.kernels->gather_rows(step.exec, reinterpret_cast<const std::byte*>(rows_),
                              static_cast<size_t>(norm.dim) * sizeof(float), step.hidden_places, step.num_hidden_rows,
                              reinterpret_cast<std::byte*>(hidden));
  }
  const int64_t num_logit_rows = step.num_logit_rows;
  if (num_logit_rows == 0 || output.weights.rows == 0) return result;
  linear(step, plain_input(step, rows_, num_logit_rows, norm.dim, forms_read_by({&output}), packed_),
         {{.linear = &output, .y = logits_}});
  if (softcap > 0) step.kernels->softcap(step.exec, logits_, num_logit_rows * output.weights.rows, softcap);
  return result;
}

}  // namespace quire
