// Tensor-core attention over K and V in other 16-bit and quantised formats, which are converted to f16 in shared memory
// (attention_kernel.h).
#include "kernels/cuda/attention/attention_kernel.h"

namespace quire {

void run_attention_mixed(const AttentionCall& call, Stream stream) {
  launch_attention_for_dim<F16Numbers, true>(call, stream);
}

}  // namespace quire
