#include "models/layers/mlp.h"

namespace quire {

void Mlp::Buffers::take(Arena& arena, const Kernels& kernels, int64_t max_rows, int64_t intermediate_size) {
  gate = arena.take<float>(max_rows * intermediate_size);
  up = arena.take<float>(max_rows * intermediate_size);
  packed.take(arena, kernels, max_rows, intermediate_size);
}

void Mlp::apply(const Step& step, const Buffers& buffers, const LinearInput& x, float* y, bool accumulate) const {
  linear(step, x, {{.linear = &gate, .y = buffers.gate}, {.linear = &up, .y = buffers.up}});
  const LinearInput inner = gated_input(step, activation, buffers.gate, buffers.up, x.rows.num_rows, gate.weights.rows,
                                        forms_read_by({&down}), buffers.packed);
  linear(step, inner, {{.linear = &down, .y = y, .accumulate = accumulate}});
}

}  // namespace quire
