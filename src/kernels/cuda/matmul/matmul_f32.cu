// Multiplies float rows by F32 matrices with plain multiply-adds: for routers and other small matrices that keep all
// their bits.
//
// A warp computes kRows x kTokens outputs, one for each lane to write. A lane takes every 32nd column of all of them; a
// tree of shuffles adds the partial sums. The order of a sum depends only on the number of columns.
#include "kernels/cuda/matmul/matmul_block.h"
#include "kernels/cuda/matmul/matmul_launch.h"

namespace quire {
namespace {

constexpr int kWarps = 4;
constexpr int kRows = 4;  // of weights, of a warp
constexpr int kTokens = 8;
constexpr int kBlockRows = kWarps * kRows;

static_assert(kRows * kTokens == kWarpSize);

// Sums each of a warp's 32 values over its lanes, in the order of warp_sum: neighbours exchange halves of their values,
// so that after five steps a lane holds one sum, that of value `index`.
__device__ __forceinline__ float sum_for_lane(float (&values)[kWarpSize], int lane, int& index) {
  index = 0;
#pragma unroll
  for (int step = 1; step < kWarpSize; step *= 2) {
    const int half = kWarpSize / 2 / step;
    const bool takes_upper = (lane & step) != 0;
    if (takes_upper) index += half;
#pragma unroll
    for (int i = 0; i < half; ++i) {
      const float given = takes_upper ? values[i] : values[i + half];
      const float kept = takes_upper ? values[i + half] : values[i];
      values[i] = kept + __shfl_xor_sync(kAllLanes, given, step);
    }
  }
  return values[0];
}

__global__ __launch_bounds__(kWarps* kWarpSize) void matmul_f32_kernel(const MatmulJob job) {
  const MatmulBlock block = find_block(job, kBlockRows, kTokens);
  const MatmulPart& part = job.parts[block.part];
  const auto lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int64_t first_row = block.first_row + static_cast<int>(threadIdx.x) / kWarpSize * kRows;
  if (block.num_tokens <= 0 || first_row >= part.rows) return;

  // Rows and tokens beyond the end repeat the first ones and are not written.
  const auto* weights = reinterpret_cast<const float*>(weights_of(part, block)) + first_row * job.cols;
  const auto* x = reinterpret_cast<const float*>(job.x) + block.first_token * job.cols;
  int64_t weight_rows[kRows];
  int64_t x_rows[kTokens];
#pragma unroll
  for (int r = 0; r < kRows; ++r) weight_rows[r] = first_row + r < part.rows ? r * job.cols : 0;
#pragma unroll
  for (int t = 0; t < kTokens; ++t) x_rows[t] = t < block.num_tokens ? t * job.cols : 0;

  float acc[kWarpSize] = {};  // [kRows][kTokens]
  for (int64_t k = lane; k < job.cols; k += kWarpSize) {
    float values[kTokens];
#pragma unroll
    for (int t = 0; t < kTokens; ++t) values[t] = x[x_rows[t] + k];
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const float weight = weights[weight_rows[r] + k];
#pragma unroll
      for (int t = 0; t < kTokens; ++t) acc[r * kTokens + t] = fmaf(weight, values[t], acc[r * kTokens + t]);
    }
  }
  int index;
  const float value = sum_for_lane(acc, lane, index);
  const int r = index / kTokens;
  const int t = index % kTokens;
  const bool exists = first_row + r < part.rows && t < block.num_tokens;
  if (exists) write_output(part, first_row + r, block.first_token + t, value);
}

}  // namespace

void launch_matmul_f32(const MatmulJob& job, Stream stream) {
  MatmulJob blocks = job;
  int64_t row_blocks = 0;
  for (int i = 0; i < job.num_parts; ++i) {
    blocks.parts[i].first_block = row_blocks;
    row_blocks += ceil_div(job.parts[i].rows, kBlockRows);
  }
  const int64_t token_blocks = job.first == nullptr ? ceil_div(job.num_rows, kTokens)
                                                    : most_token_blocks(job.num_rows, kTokens, job.num_experts);
  launch(matmul_f32_kernel, dim3(static_cast<unsigned>(token_blocks), static_cast<unsigned>(row_blocks)),
         dim3(kWarps * kWarpSize), 0, stream, blocks);
}

}  // namespace quire
