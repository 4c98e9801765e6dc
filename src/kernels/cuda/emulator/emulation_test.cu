// The emulator finds wrong synchronisation.
#include <gtest/gtest.h>

#include <cmath>

#include "kernels/cuda/device/device_array.h"
#include "kernels/cuda/device/gpu.h"
#include "kernels/cuda/matmul/matrix_loads.h"

namespace quire {
namespace {

__global__ void some_return_early(int* out) {
  if (threadIdx.x < 3) return;
  __syncthreads();
  out[0] = 1;
}
__global__ void different_barriers(int* out) {
  if (threadIdx.x < 3) {
    __syncthreads();
  } else {
    __syncthreads();
  }
  out[0] = 1;
}
__global__ void half_a_warp(int* out) {
  if (threadIdx.x % 2 == 0) out[threadIdx.x] = __shfl_xor_sync(kAllLanes, 1, 2);
}
__global__ void reads_too_early(const float* in, float* out) {
  GPU_DYNAMIC_SHARED(float, staged);
  cp_async_16(staged, in, true);
  cp_async_commit();
  out[0] = staged[0];
  cp_async_wait<0>();
  out[1] = staged[0];
}

TEST(Emulation, WrongSynchronisationEndsWithAMessage) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  DeviceArray<int> to(64);
  auto run = [&](void (*kernel)(int*)) {
    launch(kernel, 1, 64, 0, gpu_stream(gpu_exec()), to.data());
    to.download();
  };
  EXPECT_DEATH(run(some_return_early), "of 64 threads 3 returned, 61 wait at the barrier of emulation_test.cu");
  EXPECT_DEATH(run(different_barriers), "others wait at another barrier");
  EXPECT_DEATH(run(half_a_warp), "lanes 55555555 of warp 0 wait at emulation_test.cu");
}

__global__ void nothing(int*) {}
__global__ void matrices_of_odd_rows(int* out) {
  GPU_DYNAMIC_SHARED(uint16_t, staged);
  uint32_t d[4];
  load_matrices(d, staged + threadIdx.x % 8 * 20);
  out[threadIdx.x] = static_cast<int>(d[0]);
}

TEST(Emulation, UnsupportedCallsEndWithAMessage) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  DeviceArray<int> to(64);
  auto run = [&](void (*kernel)(int*), dim3 grid, size_t shared_bytes) {
    launch(kernel, grid, 32, shared_bytes, gpu_stream(gpu_exec()), to.data());
    to.download();
  };
  EXPECT_DEATH(run(nothing, 1, 100 << 10), "at most 99 KiB of shared memory");
  EXPECT_DEATH(run(nothing, dim3(1, 65536), 0), "at most 65535 high");
  EXPECT_DEATH(run(matrices_of_odd_rows, 1, 1024), "not aligned to 16 bytes");
}

TEST(Emulation, CopiesArriveWhenWaitedFor) {
  const DeviceArray<float> from(std::vector<float>{1, 2, 3, 4});
  DeviceArray<float> to(2);
  launch(reads_too_early, 1, 1, 16, gpu_stream(gpu_exec()), from.data(), to.data());
  const std::vector<float> out = to.download();
  EXPECT_TRUE(std::isnan(out[0]));
  EXPECT_EQ(out[1], 1);
}

}  // namespace
}  // namespace quire
