#include "kernels/vector/attention_parts.h"
#include "kernels/vector/parts.h"

namespace quire::QUIRE_TABLE {

void override_table(Kernels& kernels) {
  override_matmul(kernels);
  override_packed_rows(kernels);
  override_rows(kernels);
  override_attention(kernels);
  if (kernels.activations == Activations::kBf16) override_attention_in_pairs(kernels);
}

}  // namespace quire::QUIRE_TABLE
