#include "kernels/kernels.h"

#include "base/check.h"

namespace quire {
namespace {

// Of `count` items, the number of leading ones that the function of the first item can multiply.
template <typename Item, typename FunctionOf>
int count_alike(const Item* items, int count, FunctionOf function_of) {
  int alike = 1;
  while (alike < count && function_of(items[alike]) == function_of(items[0])) ++alike;
  return alike;
}

// Implements FormatKernels::matmul_experts by its matmul, with many outputs in one call.
void multiply_experts(const Kernels& table, const Exec& exec, const MatmulInput& input, const int32_t* first,
                      int num_experts, const ExpertMatrices* matrices, int num_matrices) {
  constexpr int kExperts = 64;  // experts with rows, in one call
  constexpr int kMatrices = 2;
  MatmulInput inputs[kExperts];
  MatmulOutput outputs[kExperts * kMatrices];
  const auto row_bytes = static_cast<int64_t>(input.packed == nullptr ? 0 : table.packed_row_bytes(input.cols));
  for (const ExpertMatrices* part = matrices; part < matrices + num_matrices; part += kMatrices) {
    const auto left = static_cast<int>(matrices + num_matrices - part);
    int num_inputs = 0;
    int num_outputs = 0;
    for (int e = 0; e < num_experts; ++e) {
      const int64_t at = first[e] - first[0];
      const int64_t count = first[e + 1] - first[e];
      if (count > 0) {
        MatmulInput& own = inputs[num_inputs++];
        own = {.num_rows = count,
               .cols = input.cols,
               .f32 = input.f32 == nullptr ? nullptr : input.f32 + at * input.cols,
               .packed = input.packed == nullptr ? nullptr : input.packed + at * row_bytes};
        for (int i = 0; i < (left < kMatrices ? left : kMatrices); ++i) {
          outputs[num_outputs++] = {.weights = part[i].experts[e],
                                    .y = part[i].y + at * part[i].like.rows,
                                    .y_stride = part[i].like.rows,
                                    .input = &own};
        }
      }
      if (num_outputs == 0 || (num_inputs < kExperts && e + 1 < num_experts)) continue;
      table.matmul(exec, input, outputs, num_outputs);
      num_inputs = num_outputs = 0;
    }
  }
}

}  // namespace

const FormatKernels& Kernels::format_kernels(Format format) const {
  DCHECK(static_cast<int>(format) < kNumFormats);
  return formats[static_cast<size_t>(format)];
}

size_t Kernels::packed_bytes(Format format, int64_t rows, int64_t cols) const {
  const FormatKernels& row = format_kernels(format);
  return row.packed_bytes == nullptr ? 0 : row.packed_bytes(format, rows, cols);
}

void Kernels::pack(const Exec& exec, Format format, int64_t rows, int64_t cols, const std::byte* src,
                   std::byte* dst) const {
  format_kernels(format).pack(exec, format, rows, cols, src, dst);
}

bool Kernels::takes_packed(Format format) const { return format_kernels(format).input == RowForm::kPacked; }

void Kernels::matmul(const Exec& exec, const MatmulInput& input, const MatmulOutput* outputs, int num_outputs) const {
  const auto function_of = [this](const MatmulOutput& output) { return format_kernels(output.weights.format).matmul; };
  for (int count = 0; num_outputs > 0; outputs += count, num_outputs -= count) {
    count = count_alike(outputs, num_outputs, function_of);
    function_of (*outputs)(exec, input, outputs, count);
  }
}

void Kernels::matmul_experts(const Exec& exec, const MatmulInput& input, const int32_t* first, int num_experts,
                             const ExpertMatrices* matrices, int num_matrices) const {
  const auto function_of = [this](const ExpertMatrices& m) { return format_kernels(m.like.format).matmul_experts; };
  for (int count = 0; num_matrices > 0; matrices += count, num_matrices -= count) {
    count = count_alike(matrices, num_matrices, function_of);
    if (const auto multiply = function_of(*matrices)) {
      multiply(exec, input, first, num_experts, matrices, count);
    } else {
      multiply_experts(*this, exec, input, first, num_experts, matrices, count);
    }
  }
}

}  // namespace quire
