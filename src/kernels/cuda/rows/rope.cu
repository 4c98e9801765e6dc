// Norms, rotary embedding and Hadamard transform of heads, one warp per head.
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/rows/rotate_head.h"

namespace quire {
namespace {

constexpr int kMaxParts = 4;
constexpr int kWarps = 4;  // of a block: neighbouring heads of one row

struct Parts {
  HeadRows parts[kMaxParts];
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

void norm_rope(const Exec& exec, const HeadRows* parts, int num_parts, int64_t num_rows, const Rotation& rotation) {
  for (int begin = 0; begin < num_parts; begin += kMaxParts) {
    Parts call{.parts = {},
               .num_parts = num_parts - begin < kMaxParts ? num_parts - begin : kMaxParts,
               .num_heads = 0,
               .rotation = rotation};
    for (int part = 0; part < call.num_parts; ++part) {
      call.parts[part] = parts[begin + part];
      call.num_heads += call.parts[part].num_heads;
    }
    const dim3 grid(static_cast<unsigned>(num_rows), static_cast<unsigned>(ceil_div(call.num_heads, kWarps)));
    launch(norm_rope_heads, grid, dim3(kWarpSize, kWarps), 0, gpu_stream(exec), call);
  }
}

void rope(const Exec& exec, const HeadRows& heads, int64_t num_rows, const Rotation& rotation) {
  HeadRows plain = heads;
  plain.norm = nullptr;
  norm_rope(exec, &plain, 1, num_rows, rotation);
}

struct HadamardHeads {
  HeadRows heads;
  int head_dim;
};

__global__ void __launch_bounds__(kWarps* kWarpSize) hadamard_each(const HadamardHeads call) {
  const int index = static_cast<int>(blockIdx.y * kWarps + threadIdx.y);
  if (index < call.heads.num_heads) hadamard_head(call.heads, blockIdx.x, index, call.head_dim);
}

void hadamard_heads(const Exec& exec, const HeadRows& heads, int64_t num_rows, int head_dim) {
  const dim3 grid(static_cast<unsigned>(num_rows), static_cast<unsigned>(ceil_div(heads.num_heads, kWarps)));
  launch(hadamard_each, grid, dim3(kWarpSize, kWarps), 0, gpu_stream(exec), HadamardHeads{heads, head_dim});
}

}  // namespace

void fill_rope_cuda(Kernels& table) {
  table.rope = rope;
  table.norm_rope = norm_rope;
  table.hadamard_heads = hadamard_heads;
}

}  // namespace quire
