#include "models/layers/linear.h"

#include <array>

#include "base/check.h"
#include "models/layers/column_order.h"

namespace quire {
namespace {

constexpr int64_t kQ8Group = 32;  // kernels.h: quantize_q8

}  // namespace

void Q8Buffer::take(Arena& arena, const Kernels& kernels, int64_t max_rows, int64_t max_cols) {
  const int64_t cols = (max_cols + kQ8Group - 1) / kQ8Group * kQ8Group;
  data = arena.take_bytes(static_cast<uint64_t>(max_rows) * kernels.q8_row_bytes(cols));
}

InputForms forms_read_by(std::initializer_list<const Linear*> linears) {
  InputForms forms;
  for (const Linear* linear : linears) (linear->takes_input_q8() ? forms.q8 : forms.f32) = true;
  return forms;
}

MatmulInput plain_input(const Step& step, const float* x, int64_t num_rows, int64_t cols, InputForms forms,
                        const Q8Buffer& q8) {
  if (forms.q8) step.kernels->quantize_q8(step.exec, x, num_rows, cols, q8.data);
  return {.num_rows = num_rows, .cols = cols, .f32 = x, .q8 = forms.q8 ? q8.data : nullptr};
}

MatmulInput normed_input(const Step& step, const Norm& norm, const float* x, int64_t num_rows, InputForms forms,
                         float* f32, const Q8Buffer& q8) {
  if (forms.f32) {
    norm.apply(step, x, num_rows, f32);
    return plain_input(step, f32, num_rows, norm.dim, forms, q8);
  }
  step.kernels->rms_norm_q8(step.exec, x, norm.dim, norm.weight, norm.eps, num_rows, norm.dim, q8.data);
  return {.num_rows = num_rows, .cols = norm.dim, .f32 = nullptr, .q8 = q8.data};
}

MatmulInput gated_input(const Step& step, Activation activation, float* gate, const float* up, int64_t num_rows,
                        int64_t cols, InputForms forms, const Q8Buffer& q8) {
  if (forms.f32) {
    step.kernels->gated_activation(step.exec, activation, gate, cols, up, cols, num_rows, cols, gate, cols);
    return plain_input(step, gate, num_rows, cols, forms, q8);
  }
  step.kernels->gated_activation_q8(step.exec, activation, gate, cols, up, cols, num_rows, cols, q8.data);
  return {.num_rows = num_rows, .cols = cols, .f32 = nullptr, .q8 = q8.data};
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
    DCHECK(output.linear->takes_input_q8() ? input.q8 != nullptr : input.f32 != nullptr);
    if (output.linear->order.columns == nullptr) matrices[count++] = matmul_output(output);
  }
  if (count > 0) step.kernels->matmul(step.exec, input, matrices.data(), static_cast<int>(count));
  if (count < outputs.size()) multiply_in_column_order(step, input, {outputs.begin(), outputs.size()});
}

}  // namespace quire
