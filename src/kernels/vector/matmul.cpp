// The matmul entries of a vector table. docs/kernels.md says how the parts fit together, math.h how the files of this
// folder are used.
#include "isa/bytes.h"
#include "kernels/kernels.h"
#include "kernels/vector/matmul_layout.h"
#include "kernels/vector/matmul_tasks.h"
#include "kernels/vector/parts.h"

namespace quire::QUIRE_TABLE {

MultiplyPanels multiply_panels_for(Format format) {
  switch (kFormatFamilies.of[static_cast<int>(format)]) {
    case FormatFamily::kBytes: return byte_panels(format);
    case FormatFamily::kNibbles: return nibble_panels(format);
    case FormatFamily::kLevels: return level_panels(format);
    case FormatFamily::kPlanes: return plane_panels(format);
    case FormatFamily::kSparse: return sparse_panels(format);
    default: break;
  }
  const MultiplyPanels floats = float_panels(format);
  return floats != nullptr ? floats : multiply_block_panels;
}

void override_matmul(Kernels& table) {
  table.usual_tuning = kUsualTuning;
  for (int i = 0; i < kNumFormats; ++i) {
    const auto format = static_cast<Format>(i);
    if (weight_format(format).dequantize == nullptr) continue;
    const bool is_blocks = multiply_panels_for(format) == multiply_block_panels;
    const bool is_packed = is_multiplied_packed(format, table.activations);
    table.formats[i] = {.input = is_packed ? RowForm::kPacked : RowForm::kFloats,
                        .packed_bytes = is_blocks ? block_matrix_bytes : matrix_bytes,
                        .pack = is_blocks ? pack_block_matrix : pack_matrix,
                        .matmul = matmul_outputs<multiply_panels_for>,
                        .matmul_experts = nullptr};
  }
  if (table.activations == Activations::kBf16) override_bf16(table);
  if (table.activations == Activations::kF32) override_f32(table);
}

}  // namespace quire::QUIRE_TABLE
