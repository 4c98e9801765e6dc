// Rotary embedding of heads, and their norms on the way: a warp has a head.
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/rows/rotate_head.h"

namespace quire {
namespace {

constexpr int kMostParts = 4;
constexpr int kWarps = 4;  // of a block: neighbouring heads of one row

struct Parts {
  HeadRows parts[kMostParts];
  int num_parts;
  int num_heads;  // of all parts
  Rotation rotation;
};

__global__ void __launch_bounds__(kWarps* kWarpSize) norm_rope_heads(const Parts call) {
  int index = static_cast<int>(blockIdx.y * kWarps + threadIdx.y);
  if (index >= call.num_heads) return;  // whole warps
  int part = 0;
  while (index >= call.parts[part].num_heads) index -= call.parts[part++].num_heads;
  rotate_head(call.rotation, call.parts[part], blockIdx.x, index);
}

void norm_rope(const Exec& exec, const HeadRows* parts, int num_parts, int64_t num_rows, int head_dim, int half_dim,
               const float* cos_sin, bool interleaved) {
  for (int begin = 0; begin < num_parts; begin += kMostParts) {
    Parts call{.parts = {},
               .num_parts = num_parts - begin < kMostParts ? num_parts - begin : kMostParts,
               .num_heads = 0,
               .rotation = {head_dim, half_dim, cos_sin, interleaved}};
    for (int part = 0; part < call.num_parts; ++part) {
      call.parts[part] = parts[begin + part];
      call.num_heads += call.parts[part].num_heads;
    }
    const dim3 grid(static_cast<unsigned>(num_rows), static_cast<unsigned>(ceil_div(call.num_heads, kWarps)));
    launch(norm_rope_heads, grid, dim3(kWarpSize, kWarps), 0, gpu_stream(exec), call);
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
