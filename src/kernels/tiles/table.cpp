#include "kernels/tiles/parts.h"

namespace quire::QUIRE_TABLE {

void override_table(Kernels&) {}

RoofLoops roof_loops() { return QUIRE_BASE::roof_loops(); }

}  // namespace quire::QUIRE_TABLE
