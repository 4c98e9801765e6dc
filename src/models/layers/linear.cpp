#include "models/layers/linear.h"

#include <algorithm>
#include <array>

#include "base/check.h"

namespace quire {
namespace {

MatmulOutput matmul_output(const LinearOutput& output) {
  const Linear& linear = *output.linear;
  return {.weights = linear.weights,
          .bias = linear.bias,
          .y = output.y,
          .y_stride = linear.weights.rows,
          .accumulate = output.accumulate};
}

}  // namespace

void PackedRows::take(Arena& arena, const Kernels& kernels, int64_t max_rows, int64_t max_cols) {
  const int64_t cols = (max_cols + kPackedColumnMultiple - 1) / kPackedColumnMultiple * kPackedColumnMultiple;
  data = arena.take_bytes(static_cast<uint64_t>(max_rows) * kernels.packed_row_bytes(cols));
}

InputForms forms_read_by(std::initializer_list<const Linear*> linears) {
  InputForms forms;
  for (const Linear* linear : linears) (linear->takes_packed_input() ? forms.packed : forms.f32) = true;
  return forms;
}

LinearInput plain_input(const Step& step, const float* x, int64_t num_rows, int64_t cols, InputForms forms,
                        const PackedRows& packed) {
  if (forms.packed) step.kernels->pack_rows(step.exec, {.x = x, .num_rows = num_rows, .cols = cols}, packed.data);
  return {.rows = {.num_rows = num_rows, .cols = cols, .f32 = x, .packed = forms.packed ? packed.data : nullptr},
          .packed = packed.data};
}

LinearInput normed_input(const Step& step, const Norm& norm, const float* x, int64_t num_rows, InputForms forms,
                         float* f32, const PackedRows& packed) {
  if (forms.f32) {
    norm.apply(step, x, num_rows, f32);
    return plain_input(step, f32, num_rows, norm.dim, forms, packed);
  }
  step.kernels->rms_norm_packed(step.exec, norm.rows(x, num_rows), packed.data);
  return {.rows = {.num_rows = num_rows, .cols = norm.dim, .packed = packed.data}, .packed = packed.data};
}

LinearInput gated_input(const Step& step, Activation activation, float* gate, const float* up, int64_t num_rows,
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
  return {.rows = {.num_rows = num_rows, .cols = cols, .packed = packed.data}, .packed = packed.data};
}

void linear(const Step& step, const LinearInput& input, std::initializer_list<LinearOutput> outputs) {
  CHECK(outputs.size() <= kMaxLinearOutputs);
  if (step.observer != nullptr) {
    std::array<const Linear*, kMaxLinearOutputs> matrices;
    std::ranges::transform(outputs, matrices.begin(), &LinearOutput::linear);
    step.observer->observe(std::span(matrices).first(outputs.size()), input.rows.f32, input.rows.num_rows);
  }
  // Those with the same order of columns, in one call.
  const auto multiply = [&](const MatmulInput& rows, const int32_t* columns) {
    std::array<MatmulOutput, kMaxLinearOutputs> matrices;
    int count = 0;
    for (const LinearOutput& output : outputs) {
      if (output.linear->columns != columns) continue;
      DCHECK(output.linear->weights.cols == rows.cols);
      DCHECK(output.linear->takes_packed ? rows.packed != nullptr : rows.f32 != nullptr);
      matrices[static_cast<size_t>(count++)] = matmul_output(output);
    }
    if (count > 0) step.kernels->matmul(step.exec, rows, matrices.data(), count);
  };
  multiply(input.rows, nullptr);
  const MatmulInput& x = input.rows;
  for (const LinearOutput* output = outputs.begin(); output != outputs.end(); ++output) {
    const int32_t* const columns = output->linear->columns;
    const auto is_alike = [=](const LinearOutput& other) { return other.linear->columns == columns; };
    if (columns == nullptr || std::any_of(outputs.begin(), output, is_alike)) continue;
    const RowsToPack rows{.x = x.f32, .num_rows = x.num_rows, .cols = x.cols, .columns = columns};
    step.kernels->pack_rows(step.exec, rows, input.packed);
    multiply({.num_rows = x.num_rows, .cols = x.cols, .packed = input.packed}, columns);
  }
}

}  // namespace quire
