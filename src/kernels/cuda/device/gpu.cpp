#include "kernels/cuda/device/gpu.h"

#include "base/error.h"

namespace quire {

void check_gpu(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  cudaGetLastError();  // clears the error, so that the next launch does not report it again
  fail(error == cudaErrorMemoryAllocation ? ErrorCode::kOutOfMemory : ErrorCode::kIo, "CUDA: {}: {} ({})", what,
       cudaGetErrorString(error), cudaGetErrorName(error));
}

}  // namespace quire
