// Assigns a part of a matmul to each block of threads, in the same way for every kernel of matmul.
//
// The grid is [blocks of tokens, blocks of weight rows]: neighbouring blocks read the same weights, so that these are
// read from memory once. With experts the host does not know how many rows each of them has: the blocks of tokens are
// then numbered through the experts in order, and the grid has as many blocks as there can be.
#pragma once

#include "kernels/cuda/device/gpu.h"
#include "kernels/cuda/matmul/matmul_job.h"

namespace quire {

struct MatmulBlock {
  int part = 0;
  int64_t first_row = 0;    // of weights
  int64_t first_token = 0;  // a row of x and y
  int num_tokens = 0;       // 0: the block has no work
  int expert = 0;
};

// The largest number of blocks of tokens for the rows of all experts: whole blocks, and one last block for each expert
// with rows.
constexpr int64_t most_token_blocks(int64_t num_rows, int block_tokens, int num_experts) {
  const int64_t last_ones = num_rows < num_experts ? num_rows : num_experts;
  return (num_rows - last_ones) / block_tokens + last_ones;
}

// Finds the expert and the rows of a block of tokens, from a running sum of the experts' numbers of blocks, 32 experts
// at a time. All lanes of a warp call it together.
__device__ __forceinline__ void find_expert(const MatmulJob& job, int64_t token_block, int block_tokens,
                                            MatmulBlock& found) {
  const auto lane = static_cast<int>(threadIdx.x % kWarpSize);
  auto left = static_cast<int>(token_block);  // blocks before the wanted one
  for (int base = 0; base < job.num_experts; base += kWarpSize) {
    const int expert = base + lane;
    const bool exists = expert < job.num_experts;
    const int begin = exists ? job.first[expert] : 0;
    const int count = exists ? job.first[expert + 1] - begin : 0;
    const int blocks = (count + block_tokens - 1) / block_tokens;
    int sum = blocks;
    for (int delta = 1; delta < kWarpSize; delta *= 2) {
      const int before = __shfl_up_sync(kAllLanes, sum, static_cast<unsigned>(delta));
      if (lane >= delta) sum += before;
    }
    const unsigned holders = __ballot_sync(kAllLanes, sum > left ? 1 : 0);
    if (holders != 0) {
      const int holder = __ffs(static_cast<int>(holders)) - 1;
      const int offset = (left - (sum - blocks)) * block_tokens;
      const int rest = count - offset;
      found.expert = base + holder;
      found.first_token = __shfl_sync(kAllLanes, begin + offset, holder);
      found.num_tokens = __shfl_sync(kAllLanes, rest < block_tokens ? rest : block_tokens, holder);
      return;
    }
    left -= __shfl_sync(kAllLanes, sum, kWarpSize - 1);
  }
}

__device__ __forceinline__ MatmulBlock find_block(const MatmulJob& job, int block_rows, int block_tokens) {
  MatmulBlock block;
  for (int i = 1; i < job.num_parts; ++i) {
    if (job.parts[i].first_block <= static_cast<int64_t>(blockIdx.y)) block.part = i;
  }
  block.first_row = (static_cast<int64_t>(blockIdx.y) - job.parts[block.part].first_block) * block_rows;
  if (job.first != nullptr) {
    find_expert(job, blockIdx.x, block_tokens, block);
  } else {
    block.first_token = static_cast<int64_t>(blockIdx.x) * block_tokens;
    const int64_t left = job.num_rows - block.first_token;
    block.num_tokens = static_cast<int>(left < block_tokens ? left : block_tokens);
  }
  return block;
}

__device__ __forceinline__ const std::byte* weights_of(const MatmulPart& part, const MatmulBlock& block) {
  return part.experts == nullptr ? part.weights : part.experts[block.expert].data;
}

// Stores one element of y: adds bias and the old value.
__device__ __forceinline__ void write_output(const MatmulPart& part, int64_t row, int64_t token, float value) {
  float* y = part.y + token * part.y_stride + row;
  if (part.bias != nullptr) value += part.bias[row];
  *y = part.accumulate ? value + *y : value;
}

}  // namespace quire
