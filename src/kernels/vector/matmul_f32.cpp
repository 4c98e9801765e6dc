// Formats of codes by float rows (Activations::kF32). An output is one chain of fused multiply-adds over the columns in
// ascending order.
#include "kernels/vector/float_rows.h"
#include "kernels/vector/matmul_tasks.h"
#include "kernels/vector/parts.h"
#include "kernels/vector/widened_panels.h"

namespace quire::QUIRE_TABLE {
namespace {

struct F32Out {
  std::byte* to;  // [columns][kPanelVectors] vectors

  void put(int column, int v, Vec even, Vec odd) const {
    float* const at = reinterpret_cast<float*>(to) + (column * kPanelVectors + v) * kLanes;
    store(at, even);
    store(at + kPanelRows, odd);
  }
};

struct F32Panels {
  using Out = F32Out;
  static constexpr int kBytes = sizeof(float);
  static constexpr int kColumns = kFloatColumns;
  static size_t row_bytes(int64_t cols) { return f32_row_bytes(cols); }
  static Widen<Out> widen_of(Format format) { return widen_codes_of<Out>(format); }

  template <int kPanels, int kTokens>
  static void multiply(const WidenedProduct& p) {
    const FloatColumns<Format::kF32> weights{p.weights, kColumns * kPanelRows * kBytes};
    multiply_floats<kPanels, kTokens>(weights, {.columns = p.columns,
                                                .x = reinterpret_cast<const float*>(p.x),
                                                .x_stride = p.x_stride / kBytes,
                                                .sums = p.sums,
                                                .sums_stride = p.sums_stride,
                                                .ahead = p.ahead,
                                                .panel_end = p.ahead.at + p.ahead.stride});  // not reached
  }
};

MultiplyPanels panels_of(Format) { return multiply_widened_panels<F32Panels>; }

}  // namespace

void override_f32(Kernels& table) {
  for (FormatKernels& row : table.formats) {
    if (row.input == RowForm::kPacked) row.matmul = matmul_outputs<panels_of>;
  }
}

}  // namespace quire::QUIRE_TABLE
