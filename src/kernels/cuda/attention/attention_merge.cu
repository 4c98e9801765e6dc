// The second kernel of Flash-Decoding: merges the results of splits, which separate blocks computed, into rows of
// `out`.
#include "kernels/cuda/attention/attention_call.h"

namespace quire {
namespace {

constexpr int kMergeWarps = 4;
constexpr int kLaneDims = 8;  // head_dim <= 256

// grid: KV heads, jobs. Each warp handles one row after the other; a lane has dimensions lane, lane + 32, ...
__global__ void __launch_bounds__(kMergeWarps* kWarpSize) merge_splits(const AttentionCall call) {
  const int kv_head = static_cast<int>(blockIdx.x);
  const AttentionJob job = find_job(call, static_cast<int>(blockIdx.y));
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int head_dim = call.args.kv.head_dim;
  const int first_split = split_of(job.first_seen);
  const int last_split = split_of(job.last_seen);
  for (int row = static_cast<int>(threadIdx.x) / kWarpSize; row < job.num_rows; row += kMergeWarps) {
    RowTotal total;
    float values[kLaneDims] = {};
    for (int split = first_split; split <= last_split; ++split) {
      const float* partial = partial_of(call, job.index, kv_head, split);
      const float* its = partial + int64_t{call.partial_rows} * head_dim + row * 2;
      const MergeFactors factors = merge(total, its[0], its[1], call.to_log2);
#pragma unroll
      for (int i = 0; i < kLaneDims; ++i) {
        const int d = i * kWarpSize + lane;
        if (d < head_dim) values[i] = fmaf(values[i], factors.keep, partial[row * head_dim + d] * factors.add);
      }
    }
    const QueryRow query = query_row(call, job, kv_head, row);
    float* const out = call.args.out + (query.row * call.args.num_heads + query.head) * head_dim;
    const float inverse = 1.0f / total.sum;
#pragma unroll
    for (int i = 0; i < kLaneDims; ++i) {
      const int d = i * kWarpSize + lane;
      if (d < head_dim) out[d] = fmaf(values[i], inverse, 0.0f);
    }
  }
}

}  // namespace

void merge_attention_splits(const AttentionCall& call, Stream stream) {
  const dim3 grid(static_cast<unsigned>(call.args.kv.num_kv_heads), static_cast<unsigned>(call.num_jobs));
  launch(merge_splits, grid, dim3(kMergeWarps * kWarpSize), 0, stream, call);
}

}  // namespace quire
