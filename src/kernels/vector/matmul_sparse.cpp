#include "kernels/vector/matmul_codes.h"
#include "kernels/vector/parts.h"

namespace quire::QUIRE_TABLE {

MultiplyPanels sparse_panels(Format format) {
  static_assert(scheme_of(Format::kS8_G64).is_sparse);
  if (format != Format::kS8_G64) return nullptr;
  return FastExpander::runs_here() ? multiply_code_panels<SparseCodes<Format::kS8_G64, FastExpander>>
                                   : multiply_code_panels<PackedCodes<Format::kS8_G64>>;
}

}  // namespace quire::QUIRE_TABLE
