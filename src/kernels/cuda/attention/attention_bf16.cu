// Tensor-core attention over K and V in bf16 (attention_kernel.h).
#include "kernels/cuda/attention/attention_kernel.h"

namespace quire {

void run_attention_bf16(const AttentionCall& call, Stream stream) {
  launch_attention_for_dim<Bf16Numbers, false>(call, stream);
}

}  // namespace quire
