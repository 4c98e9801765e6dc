// Finds the splits that all sequences of few rows share.
#include "kernels/cuda/attention/attention_call.h"

namespace quire {
namespace {

constexpr int kShareWarps = 8;

// Whether the rows of the sequence see all positions of the split, in the same blocks as those of the leader.
__device__ __forceinline__ bool shares_split(const AttentionCall& call, const AttentionSequence& sequence,
                                             const AttentionSequence& leader, int split) {
  const int begin = split_begin(split);
  const int end = split_begin(split + 1);
  const int first = static_cast<int>(sequence.first_position);
  const int last = first + static_cast<int>(sequence.num_rows) - 1;
  const int window = static_cast<int>(call.args.window);
  if (first < end - 1 || leader.first_position < end - 1 || (window > 0 && last - window >= begin)) return false;
  bool same = true;
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  for (int block = begin / kKvBlockSize + lane; block < end / kKvBlockSize; block += kWarpSize) {
    same = same && sequence.block_table[block] == leader.block_table[block];
  }
  return __any_sync(kAllLanes, !same) == 0;
}

// grid: splits. Each warp handles one sequence after the other.
__global__ void __launch_bounds__(kShareWarps* kWarpSize) find_shared(const AttentionCall call) {
  __shared__ int num_sharing[kShareWarps];
  __shared__ int num_others[kShareWarps];
  const int split = static_cast<int>(blockIdx.x);
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const int leader = first_sequence(call);
  int sharing = 0;
  int others = 0;
  for (int i = warp; leader >= 0 && i < call.args.num_sequences && others == 0; i += kShareWarps) {
    const AttentionSequence sequence = call.args.sequences[i];
    if (rows_of(call, sequence) == 0) continue;
    ++(shares_split(call, sequence, call.args.sequences[leader], split) ? sharing : others);
  }
  num_sharing[warp] = sharing;
  num_others[warp] = others;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (int other = 1; other < kShareWarps; ++other) {
    sharing += num_sharing[other];
    others += num_others[other];
  }
  call.shared_splits[split] = sharing > 1 && others == 0 ? 1 : 0;
}

}  // namespace

void find_shared_splits(const AttentionCall& call, Stream stream) {
  launch(find_shared, dim3(static_cast<unsigned>(call.num_splits)), dim3(kShareWarps * kWarpSize), 0, stream, call);
}

}  // namespace quire
