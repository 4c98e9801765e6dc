#include "models/layers/column_order.h"

#include <algorithm>
#include <array>

#include "base/check.h"

namespace quire {
namespace {

// Rows [first, first + count) of the input in `order`, quantised.
MatmulInput gather(const Step& step, const MatmulInput& input, const ColumnOrder& order, int64_t first, int64_t count) {
  step.kernels->gather_columns(step.exec, input.f32 + first * input.cols, order.columns, count, input.cols,
                               order.gathered);
  step.kernels->pack_rows(step.exec, order.gathered, count, input.cols, order.packed);
  return {.num_rows = count, .cols = input.cols, .f32 = order.gathered, .packed = order.packed};
}

}  // namespace

void multiply_in_column_order(const Step& step, const MatmulInput& input, std::span<const LinearOutput> outputs) {
  for (size_t i = 0; i < outputs.size(); ++i) {
    const ColumnOrder& order = outputs[i].linear->order;
    const auto shares = [&](const LinearOutput& other) { return other.linear->order.columns == order.columns; };
    if (order.columns == nullptr || std::ranges::any_of(outputs.first(i), shares)) continue;
    DCHECK(input.f32 != nullptr);
    for (int64_t first = 0; first < input.num_rows; first += ColumnOrder::kRows) {
      const int64_t count = std::min(ColumnOrder::kRows, input.num_rows - first);
      const MatmulInput gathered = gather(step, input, order, first, count);
      std::array<MatmulOutput, kMaxLinearOutputs> matrices;
      int num_matrices = 0;
      for (const LinearOutput& output : outputs.subspan(i)) {
        if (!shares(output)) continue;
        MatmulOutput& matrix = matrices[static_cast<size_t>(num_matrices++)];
        matrix = matmul_output(output);
        matrix.y += first * matrix.y_stride;
      }
      step.kernels->matmul(step.exec, gathered, matrices.data(), num_matrices);
    }
  }
}

}  // namespace quire
