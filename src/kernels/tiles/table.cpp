#include "kernels/tiles/parts.h"

namespace quire::QUIRE_TABLE {

void override_table(Kernels& kernels) {
  if (kernels.activations == Activations::kInt8) override_tile_matmul(kernels);
}

}  // namespace quire::QUIRE_TABLE
