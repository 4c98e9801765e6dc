#include "kernels/vector/parts.h"

namespace quire::QUIRE_TABLE {

void override_table(Kernels& kernels) {
  override_matmul(kernels);
  override_packed_rows(kernels);
  override_rows(kernels);
  override_attention(kernels);
}

}  // namespace quire::QUIRE_TABLE
