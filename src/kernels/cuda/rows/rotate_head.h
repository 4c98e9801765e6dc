// The norm, the rotary embedding and the Hadamard transform of one head, in place, by one warp.
#pragma once

#include "kernels/cuda/rows/row_parts.h"

namespace quire {
namespace {

// Reads one head and applies the norm of its part, if any. The sum for the norm has the same order as in rms_norm.
struct RotatedHead {
  float* x;
  const float* norm;
  float factor;

  __device__ RotatedHead(const HeadRows& part, float* values, int head_dim) : x(values), norm(part.norm), factor(1.0f) {
    if (norm == nullptr) return;
    float sum = 0.0f;
    for (int first = 4 * static_cast<int>(threadIdx.x); first < head_dim; first += 4 * kWarpSize) {
      sum = add_squares(load_four(x, first, {head_dim, false}), sum);
    }
    factor = rms_factor(warp_sum(sum), head_dim, part.norm_eps);
  }
  __device__ float get(int i) const { return norm == nullptr ? x[i] : factor * x[i] * norm[i]; }
};

// Only this warp reads and writes the head; its lanes are threadIdx.x.
__device__ __forceinline__ void rotate_head(const Rotation& r, const HeadRows& heads, int64_t row, int index) {
  const RotatedHead head(heads, heads.x + row * heads.stride + static_cast<int64_t>(index) * r.head_dim, r.head_dim);
  const float* const cosines = r.cos_sin + row * 2 * r.half_dim;
  const float* const sines = cosines + r.half_dim;
  const int lane = static_cast<int>(threadIdx.x);
  for (int i = lane; i < r.half_dim; i += kWarpSize) {
    const int first_at = r.interleaved ? 2 * i : i;
    const int second_at = r.interleaved ? 2 * i + 1 : i + r.half_dim;
    const float first = head.get(first_at);
    const float second = head.get(second_at);
    head.x[first_at] = first * cosines[i] - second * sines[i];
    head.x[second_at] = second * cosines[i] + first * sines[i];
  }
  if (head.norm == nullptr) return;
  for (int i = 2 * r.half_dim + lane; i < r.head_dim; i += kWarpSize) head.x[i] = head.get(i);
}

// The only warp to read and write the head, of global or shared memory; its lanes are threadIdx.x.
__device__ __forceinline__ void hadamard_head(float* head, int head_dim) {
  const int size = head_dim & -head_dim;
  const float scale = 1.0f / sqrtf(static_cast<float>(size));
  const int lane = static_cast<int>(threadIdx.x);
  for (int distance = size / 2; distance > 0; distance /= 2) {
    __syncwarp();
    for (int pair = lane; pair < head_dim / 2; pair += kWarpSize) {
      const int i = pair / distance * 2 * distance + pair % distance;
      const float first = head[i];
      const float second = head[i + distance];
      head[i] = first + second;
      head[i + distance] = first - second;
    }
  }
  __syncwarp();
  for (int i = lane; i < head_dim; i += kWarpSize) head[i] *= scale;
  __syncwarp();
}
__device__ __forceinline__ void hadamard_head(const HeadRows& heads, int64_t row, int index, int head_dim) {
  hadamard_head(heads.x + row * heads.stride + static_cast<int64_t>(index) * head_dim, head_dim);
}

}  // namespace
}  // namespace quire
