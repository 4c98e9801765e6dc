#include "kernels/vector/matmul_codes.h"
#include "kernels/vector/parts.h"

namespace quire::QUIRE_TABLE {

MultiplyPanels byte_panels(Format format) { return code_panels<FormatFamily::kBytes>(format); }

}  // namespace quire::QUIRE_TABLE
