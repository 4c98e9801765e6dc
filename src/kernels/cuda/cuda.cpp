#include "kernels/cuda/cuda.h"

#include "kernels/cuda/attention.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/sampling.h"

namespace quire {
namespace {

Kernels make_table() {
  Kernels table{};
  table.name = "cuda";
  fill_matmul_cuda(table);
  fill_attention_cuda(table);
  fill_rows_cuda(table);
  fill_rope_cuda(table);
  fill_experts_cuda(table);
  table.embed_rows = embed_rows;
  table.sample_rows = sample_rows;
  return table;
}

}  // namespace

Backend make_cuda() {
  static const Kernels table = make_table();
  return {&table, make_cuda_device()};
}

}  // namespace quire
