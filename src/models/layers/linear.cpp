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

MatmulInput matmul_input(const Step& step, const float* x, int64_t num_rows, int64_t cols, bool needs_q8,
                         const Q8Buffer& q8) {
  MatmulInput input{.num_rows = num_rows, .cols = cols, .f32 = x, .q8 = nullptr};
  if (needs_q8) {
    step.kernels->quantize_q8(step.exec, x, num_rows, cols, q8.data);
    input.q8 = q8.data;
  }
  return input;
}

MatmulOutput matmul_output(const LinearOutput& output, int64_t first_row) {
  const Linear& linear = *output.linear;
  return {.weights = linear.weights,
          .bias = linear.bias,
          .y = output.y + first_row * linear.weights.rows,
          .y_stride = linear.weights.rows,
          .accumulate = output.accumulate};
}

void linear(const Step& step, const MatmulInput& input, std::span<const LinearOutput> outputs) {
  CHECK(outputs.size() <= kMaxLinearOutputs);
  std::array<MatmulOutput, kMaxLinearOutputs> matrices;
  size_t num_matrices = 0;
  for (const LinearOutput& output : outputs) {
    const Linear& linear = *output.linear;
    DCHECK(linear.weights.cols == input.cols && (!linear.takes_input_q8() || input.q8 != nullptr));
    if (linear.order.columns == nullptr) matrices[num_matrices++] = matmul_output(output);
  }
  if (num_matrices > 0) step.kernels->matmul(step.exec, input, matrices.data(), static_cast<int>(num_matrices));
  if (num_matrices < outputs.size()) multiply_in_column_order(step, input, outputs);
}

void linear(const Step& step, const float* x, int64_t num_rows, const Q8Buffer& q8,
            std::initializer_list<LinearOutput> outputs) {
  bool needs_q8 = false;
  for (const LinearOutput& output : outputs) needs_q8 = needs_q8 || output.linear->takes_input_q8();
  const int64_t cols = outputs.begin()->linear->weights.cols;
  linear(step, matmul_input(step, x, num_rows, cols, needs_q8, q8), {outputs.begin(), outputs.size()});
}

}  // namespace quire
