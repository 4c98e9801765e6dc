// The matmul entries of a table on tiles.
#include "kernels/kernels.h"
#include "kernels/tiles/parts.h"
#include "kernels/vector/matmul_tasks.h"

namespace quire::QUIRE_TABLE {

MultiplyPanels multiply_panels_for(Format format) {
  const MultiplyPanels codes = code_tile_panels(format);
  return codes != nullptr ? codes : QUIRE_BASE::multiply_panels_for(format);
}

// One function for all formats, so that outputs of several formats are one parallel loop.
void override_tile_matmul(Kernels& table) {
  for (FormatKernels& row : table.formats) {
    if (row.matmul != nullptr) row.matmul = matmul_outputs<multiply_panels_for>;
  }
}

}  // namespace quire::QUIRE_TABLE
