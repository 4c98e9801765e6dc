// The attention entries of the CUDA table: write_kv, copy_kv, attention_workspace_bytes and attention of kernels.h.
//
// attention needs AttentionArgs::num_rows, max_rows and max_context, scale > 0, q 16-byte aligned and q_stride a
// multiple of 4. Queries and weights are rounded to the 16-bit numbers of the products: bf16 when K and V are bf16,
// otherwise f16; K and V in quantised or different formats become f16. F32 and head_dim above 256 are computed in
// float32, slowly.
#pragma once

#include "kernels/kernels.h"

namespace quire {

void fill_attention_cuda(Kernels& table);
void fill_write_kv_cuda(Kernels& table);

}  // namespace quire
