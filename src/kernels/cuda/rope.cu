// Rotary embedding of heads, and their norms on the way: a warp has a head, as the only one to read and write it.
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/row_parts.h"

namespace quire {
namespace {

constexpr int kMostParts = 4;
constexpr int kWarps = 4;  // of a block: neighbouring heads of one row

struct Rotation {
  HeadRows parts[kMostParts];
  int num_parts;
  int num_heads;  // of all parts
  int head_dim;
  int half_dim;
  const float* cos_sin;  // [num_rows, 2, half_dim]
  bool interleaved;
};

// One head as it is read: normed if its part has a norm. The factor's sum has rms_norm's order.
struct Head {
  float* x;
  const float* norm;
  float factor;

  __device__ Head(const HeadRows& part, float* values, int head_dim) : x(values), norm(part.norm), factor(1.0f) {
    if (norm == nullptr) return;
    float sum = 0.0f;
    for (int first = 4 * static_cast<int>(threadIdx.x); first < head_dim; first += 4 * kWarpSize) {
      sum = add_squares(load_four(x, first, {head_dim, false}), sum);
    }
    factor = rms_factor(warp_sum(sum), head_dim, part.norm_eps);
  }
  __device__ float get(int i) const { return norm == nullptr ? x[i] : factor * x[i] * norm[i]; }
};

__global__ void __launch_bounds__(kWarps* kWarpSize) norm_rope_heads(const Rotation r) {
  const int64_t row = blockIdx.x;
  int index = static_cast<int>(blockIdx.y * kWarps + threadIdx.y);
  if (index >= r.num_heads) return;  // whole warps
  int part = 0;
  while (index >= r.parts[part].num_heads) index -= r.parts[part++].num_heads;

  const HeadRows& heads = r.parts[part];
  const Head head(heads, heads.x + row * heads.stride + static_cast<int64_t>(index) * r.head_dim, r.head_dim);
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

void norm_rope(const Exec& exec, const HeadRows* parts, int num_parts, int64_t num_rows, int head_dim, int half_dim,
               const float* cos_sin, bool interleaved) {
  for (int begin = 0; begin < num_parts; begin += kMostParts) {
    Rotation r{.parts = {},
               .num_parts = num_parts - begin < kMostParts ? num_parts - begin : kMostParts,
               .num_heads = 0,
               .head_dim = head_dim,
               .half_dim = half_dim,
               .cos_sin = cos_sin,
               .interleaved = interleaved};
    for (int part = 0; part < r.num_parts; ++part) {
      r.parts[part] = parts[begin + part];
      r.num_heads += r.parts[part].num_heads;
    }
    const dim3 grid(static_cast<unsigned>(num_rows), static_cast<unsigned>(ceil_div(r.num_heads, kWarps)));
    launch(norm_rope_heads, grid, dim3(kWarpSize, kWarps), 0, gpu_stream(exec), r);
  }
}

void rope(const Exec& exec, float* x, int64_t x_stride, int64_t num_rows, int num_heads, int head_dim, int half_dim,
          const float* cos_sin, bool interleaved) {
  const HeadRows heads{.x = x, .stride = x_stride, .num_heads = num_heads};
  norm_rope(exec, &heads, 1, num_rows, head_dim, half_dim, cos_sin, interleaved);
}

}  // namespace

void fill_rope_cuda(Kernels& table) {
  table.rope = rope;
  table.norm_rope = norm_rope;
}

}  // namespace quire
