#include "kernels/cuda/cuda.h"

#include "kernels/cuda/attention/attention.h"
#include "kernels/cuda/device/device.h"
#include "kernels/cuda/matmul/dense_matmul.h"
#include "kernels/cuda/rows/sampling.h"

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
  table.max_sampled_vocab = 1 << 20;
  table.sample_rows = sample_rows;
  return table;
}

Kernels make_library_table() {
  int major = 0;
  int minor = 0;
  check_gpu(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0), "asking for the compute capability");
  check_gpu(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, 0), "asking for the compute capability");
  Kernels table = make_table();
  fill_dense_cuda(table, major == 9 && minor == 0);
  return table;
}

}  // namespace

Backend make_cuda(bool one_answer, int index) {
  static const Kernels table = make_table();
  std::unique_ptr<Device> device = make_cuda_device(/*with_library=*/!one_answer, index);
  if (one_answer) return {&table, std::move(device)};
  static const Kernels library_table = make_library_table();
  return {&library_table, std::move(device)};
}

}  // namespace quire
