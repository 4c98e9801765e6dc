// Attention in float32, for the formats and sizes that no tensor-core kernel has: F32, and head_dim above 256 or not a
// multiple of 8. One warp computes one query of one head over its whole context, so one answer holds without further
// measures. It is exact, not fast.
#include "kernels/cuda/attention/attention_call.h"
#include "kernels/cuda/attention/kv_tiles.h"

namespace quire {
namespace {

constexpr int kLaneDims = kMaxHeadDim / kWarpSize;
constexpr unsigned kMaxGridRows = 65535;

struct Context {
  const AttentionArgs& args;
  const int32_t* block_table;
  int kv_head;
  int position;  // of the query
  int first_seen;
};

__device__ __forceinline__ const std::byte* stored_tile(const Context& context, const std::byte* cache, Format format,
                                                        int block) {
  const KvLayer& kv = context.args.kv;
  const int64_t index = int64_t{context.block_table[block]} * kv.num_kv_heads + context.kv_head;
  return cache + index * kv_stored_bytes(format, kv.head_dim);
}

// The score of the lane's position in the block; -infinity when the query does not see it.
__device__ __forceinline__ float score_position(const Context& context, const float* q, int block, int offset) {
  const AttentionArgs& args = context.args;
  const int position = block * kKvBlockSize + offset;
  if (position < context.first_seen || position > context.position) return -INFINITY;
  const std::byte* tile = stored_tile(context, args.kv.k, k_codes(args.kv.k_format), block);
  float score = 0.0f;
  for (int d = 0; d < args.kv.head_dim; ++d) {
    score = fmaf(q[d], kv_value(k_codes(args.kv.k_format), tile, args.kv.head_dim, offset, d), score);
  }
  score *= args.scale;
  return args.softcap > 0 ? args.softcap * tanhf(score / args.softcap) : score;
}

__device__ __forceinline__ void attend(const Context& context, const float* q, float* out) {
  const AttentionArgs& args = context.args;
  const int lane = static_cast<int>(threadIdx.x);
  const int head_dim = args.kv.head_dim;
  float max = -INFINITY;
  float sum = 0.0f;  // of the lane's positions
  float values[kLaneDims] = {};
  for (int block = context.first_seen / kKvBlockSize; block <= context.position / kKvBlockSize; ++block) {
    if (context.block_table[block] == kNoBlock) continue;
    const float score = score_position(context, q, block, lane);
    const float most = warp_max(fmaxf(max, score));
    const float shrink = expf(max - most);
    const float weight = expf(score - most);
    max = most;
    sum = fmaf(sum, shrink, weight);
    for (float& value : values) value *= shrink;
    const std::byte* tile = stored_tile(context, args.kv.v, args.kv.v_format, block);
    for (int offset = 0; offset < kKvBlockSize; ++offset) {
      const float its = __shfl_sync(kAllLanes, weight, offset);
      if (its == 0.0f) continue;  // V of a position that the query does not see may be NaN
#pragma unroll
      for (int i = 0; i < kLaneDims; ++i) {
        const int d = i * kWarpSize + lane;
        if (d < head_dim) values[i] = fmaf(its, kv_value(args.kv.v_format, tile, head_dim, offset, d), values[i]);
      }
    }
  }
  sum = warp_sum(sum);
#pragma unroll
  for (int i = 0; i < kLaneDims; ++i) {
    const int d = i * kWarpSize + lane;
    if (d < head_dim) out[d] = fmaf(values[i], 1.0f / sum, 0.0f);
  }
}

// grid: query heads, rows of a sequence, sequences; a block is a warp.
__global__ void __launch_bounds__(kWarpSize) attention_plain(const AttentionArgs args) {
  __shared__ float q[kMaxHeadDim];
  const int head = static_cast<int>(blockIdx.x);
  const int head_dim = args.kv.head_dim;
  const AttentionSequence& sequence = args.sequences[blockIdx.z];
  for (int64_t i = blockIdx.y; i < sequence.num_rows; i += gridDim.y) {
    const int64_t row = sequence.first_row + i;
    __syncwarp();
    for (int d = static_cast<int>(threadIdx.x); d < head_dim; d += kWarpSize) {
      q[d] = args.q[row * args.q_stride + int64_t{head} * head_dim + d];
    }
    __syncwarp();
    const int position = static_cast<int>(sequence.first_position + i);
    const int window = static_cast<int>(args.window);
    const int first_seen = window > 0 && position >= window ? position - window + 1 : 0;
    const int kv_head = head / (args.num_heads / args.kv.num_kv_heads);
    attend({args, sequence.block_table, kv_head, position, first_seen}, q,
           args.out + (row * args.num_heads + head) * head_dim);
  }
}

}  // namespace

void run_attention_plain(const AttentionArgs& args, Stream stream) {
  const auto rows = static_cast<unsigned>(args.max_rows);
  const dim3 grid(static_cast<unsigned>(args.num_heads), rows < kMaxGridRows ? rows : kMaxGridRows,
                  static_cast<unsigned>(args.num_sequences));
  launch(attention_plain, grid, dim3(kWarpSize), 0, stream, args);
}

}  // namespace quire
