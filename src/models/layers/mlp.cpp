#include "models/layers/mlp.h"

#include <algorithm>

namespace quire {

void Mlp::Buffers::take(Arena& arena, const Kernels& kernels, int64_t max_rows, int64_t hidden_size,
                        int64_t intermediate_size) {
  gate = arena.take<float>(max_rows * intermediate_size);
  up = arena.take<float>(max_rows * intermediate_size);
  q8.take(arena, kernels, max_rows, std::max(hidden_size, intermediate_size));
}

void Mlp::apply(const Step& step, const Buffers& buffers, const float* x, float* y, bool accumulate) const {
  const int64_t num_rows = step.num_rows;
  const int64_t size = gate.weights.rows;
  linear(step, x, num_rows, buffers.q8, {{.linear = &gate, .y = buffers.gate}, {.linear = &up, .y = buffers.up}});
  step.kernels->gated_activation(step.exec, activation, buffers.gate, size, buffers.up, size, num_rows, size,
                                 buffers.gate, size);
  linear(step, buffers.gate, num_rows, buffers.q8, {{.linear = &down, .y = y, .accumulate = accumulate}});
}

}  // namespace quire
