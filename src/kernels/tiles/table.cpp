#include "kernels/tiles/parts.h"

namespace quire::QUIRE_TABLE {

void override_table(Kernels& kernels) {
  if (kernels.activations == Activations::kInt8) override_tile_matmul(kernels);
  if (kernels.activations == Activations::kBf16) {
    override_bf16(kernels);
    override_attention_on_tiles(kernels);
  }
}

}  // namespace quire::QUIRE_TABLE
