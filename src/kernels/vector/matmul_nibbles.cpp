#include "kernels/vector/matmul_codes.h"
#include "kernels/vector/parts.h"

namespace quire::QUIRE_TABLE {

MultiplyPanels nibble_panels(Format format) { return code_panels<FormatFamily::kNibbles>(format); }

}  // namespace quire::QUIRE_TABLE
