#include "kernels/vector/matmul_codes.h"
#include "kernels/vector/parts.h"

namespace quire::QUIRE_TABLE {

MultiplyPanels plane_panels(Format format) { return code_panels<FormatFamily::kPlanes>(format); }

}  // namespace quire::QUIRE_TABLE
