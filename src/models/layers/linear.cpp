#include "models/layers/linear.h"

#include <array>

#include "base/check.h"
#include "models/layers/column_order.h"

namespace quire {

void PackedRows::take(Arena& arena, const Kernels& kernels, int64_t max_rows, int64_t max_cols) {
  const int64_t cols = (max_cols + kPackedColumnMultiple - 1) / kPackedColumnMultiple * kPackedColumnMultiple;
  data = arena.take_bytes(static_cast<uint64_t>(max_rows) * kernels.packed_row_bytes(cols));
}

InputForms forms_read_by(std::initializer_list<const Linear*> linears) {
  InputForms forms;
  for (const Linear* linear : linears) (linear->takes_packed_input() ? forms.packed : forms.f32) = true;
  return forms;
}

MatmulInput plain_input(const Step& step, const float* x, int64_t num_rows, int64_t cols, InputForms forms,
                        const PackedRows& packed) {
  if (forms.packed) step.kernels->pack_rows(step.exec, x, num_rows, cols, packed.data);
  return {.num_rows = num_rows, .cols = cols, .f32 = x, .packed = forms.packed ? packed.data : nullptr};
}

MatmulInput normed_input(const Step& step, const Norm& norm, const float* x, int64_t num_rows, InputForms forms,
                         float* f32, const PackedRows& packed) {
  if (forms.f32) {
    norm.apply(step, x, num_rows, f32);
    return plain_input(step, f32, num_rows, norm.dim, forms, packed);
  }
  step.kernels->rms_norm_packed(step.exec, norm.rows(x, num_rows), packed.data);
  return {.num_rows = num_rows, .cols = norm.dim, .f32 = nullptr, .packed = packed.data};
}

MatmulInput gated_input(const Step& step, Activation activation, float* gate, const float* up, int64_t num_rows,
                        int64_t cols, InputForms forms, const PackedRows& packed) {
  const RowGate rows{.kind = activation,
                     .gate = gate,
                     .gate_stride = cols,
                     .up = up,
                     .up_stride = cols,
                     .num_rows = num_rows,
                     .dim = cols};
  if (forms.f32) {
    step.kernels->gated_activation(step.exec, rows, gate, cols);
    return plain_input(step, gate, num_rows, cols, forms, packed);
  }
  step.kernels->gated_activation_packed(step.exec, rows, packed.data);
  return {.num_rows = num_rows, .cols = cols, .f32 = nullptr, .packed = packed.data};
}

MatmulOutput matmul_output(const LinearOutput& output, const MatmulInput* own) {
  const Linear& linear = *output.linear;
  return {.weights = linear.weights,
          .bias = linear.bias,
          .y = output.y,
          .y_stride = linear.weights.rows,
          .accumulate = output.accumulate,
          .input = own};
}

void linear(const Step& step, const MatmulInput& input, std::initializer_list<LinearOutput> outputs) {
  CHECK(outputs.size() <= kMaxLinearOutputs);
  std::array<MatmulOutput, kMaxLinearOutputs> matrices;
  size_t count = 0;
  for (const LinearOutput& output : outputs) {
    DCHECK(output.linear->weights.cols == input.cols);
    DCHECK(output.linear->takes_packed_input() ? input.packed != nullptr : input.f32 != nullptr);
    if (output.linear->order.columns == nullptr) matrices[count++] = matmul_output(output);
  }
  if (count > 0) step.kernels->matmul(step.exec, input, matrices.data(), static_cast<int>(count));
  if (count < outputs.size()) multiply_in_column_order(step, input, {outputs.begin(), outputs.size()});
}

}  // namespace quire
