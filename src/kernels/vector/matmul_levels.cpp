#include "kernels/vector/matmul_codes.h"
#include "kernels/vector/parts.h"

namespace quire::QUIRE_TABLE {

MultiplyPanels level_panels(Format format) { return code_panels<FormatFamily::kLevels>(format); }

}  // namespace quire::QUIRE_TABLE
