// Kernels::matmul_experts by a table's own matmul: an output with rows of its own for every expert that has rows, many
// in one call. Included by the files of one instruction set: everything has internal linkage.
#pragma once

#include "kernels/kernels.h"

namespace quire {
namespace {

template <auto kMatmul, auto kPackedRowBytes>
void multiply_experts(const Exec& exec, const MatmulInput& input, const int32_t* first, int num_experts,
                      const ExpertMatrices* matrices, int num_matrices) {
  constexpr int kExperts = 64;  // with rows, in one call
  constexpr int kMatrices = 2;
  MatmulInput inputs[kExperts];
  MatmulOutput outputs[kExperts * kMatrices];
  const auto row_bytes = static_cast<int64_t>(input.packed == nullptr ? 0 : kPackedRowBytes(input.cols));
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
          MatmulOutput& output = outputs[num_outputs++];
          output = {};
          output.weights = part[i].experts[e];
          output.y = part[i].y + at * part[i].like.rows;
          output.y_stride = part[i].like.rows;
          output.input = &own;
        }
      }
      if (num_outputs == 0 || (num_inputs < kExperts && e + 1 < num_experts)) continue;
      kMatmul(exec, input, outputs, num_outputs);
      num_inputs = num_outputs = 0;
    }
  }
}

}  // namespace
}  // namespace quire
