// Tensor-core attention over K and V in f16 (attention_kernel.h).
#include "kernels/cuda/attention/attention_kernel.h"

namespace quire {

void run_attention_f16(const AttentionCall& call, Stream stream) {
  launch_attention_for_dim<F16Numbers, false>(call, stream);
}

}  // namespace quire
