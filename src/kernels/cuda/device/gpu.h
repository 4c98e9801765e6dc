// The part of CUDA that Quire's kernels are written in. Every .cu file includes this and nothing of CUDA's own.
//
// nvcc compiles the .cu files for the device; g++ compiles the same files with QUIRE_GPU_EMULATED, and then emulated.h
// defines the same names on the CPU, so that the kernels are tested where there is no GPU. Names that begin with `cuda`
// or `__` are CUDA's; the rest is defined here. Both ways a multiply and an add are fused only where fmaf is written
// (nvcc: --fmad=false), so two kernels that spell the same arithmetic give the same bits.
//
// Fragments of the tensor-core products lie in the lanes as the PTX manual says ("Matrix Fragments for mma.m16n8k16"
// and so on). With g = lane / 4 and t = lane % 4, an element's (row, column):
//   a, m16n8k16   a[0]: (g, 2t), (g, 2t + 1)   a[1]: row g + 8   a[2]: column + 8   a[3]: both     low half first
//   b, m16n8k16   b[0]: (2t, g), (2t + 1, g)   b[1]: row + 8
//   a, m16n8k8    a[0]: (g, t)                 a[1]: row g + 8   a[2]: column + 4   a[3]: both
//   b, m16n8k8    b[0]: (t, g)                 b[1]: row + 4
//   a, m16n8k32   a[0]: (g, 4t .. 4t + 3)      a[1]: row g + 8   a[2]: column + 16  a[3]: both     low byte first
//   b, m16n8k32   b[0]: (4t .. 4t + 3, g)      b[1]: row + 16
//   d, all        d[0], d[1]: (g, 2t), (g, 2t + 1)   d[2], d[3]: row g + 8
#pragma once

#ifdef QUIRE_GPU_EMULATED
#include "kernels/cuda/emulator/emulated.h"
#else
#include <cuda_runtime.h>
#ifdef __CUDACC__
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>
#endif
#endif

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "kernels/kernels.h"

namespace quire {

using Stream = cudaStream_t;

class UploadStaging;  // staging.h
class MatmulLibrary;  // library.h

// What Exec::stream of a CUDA call points to. Owned by the device.
struct GpuStream {
  Stream stream = nullptr;
  UploadStaging* staging = nullptr;
  MatmulLibrary* library = nullptr;  // of tables made without one answer
};

inline Stream gpu_stream(const Exec& exec) { return static_cast<const GpuStream*>(exec.stream)->stream; }
// For Kernels::pack.
inline UploadStaging& gpu_staging(const Exec& exec) { return *static_cast<const GpuStream*>(exec.stream)->staging; }
// For dense matrices.
inline MatmulLibrary& gpu_library(const Exec& exec) { return *static_cast<const GpuStream*>(exec.stream)->library; }

// Throws Error with `what` and CUDA's name for `error`, unless it is success.
void check_gpu(cudaError_t error, const char* what);

constexpr int kWarpSize = 32;
constexpr unsigned kAllLanes = 0xffffffffu;
// A kernel with more dynamic shared memory than this must request it; up to 99 KiB on all supported devices.
constexpr size_t kSharedBytesUnasked = 48 << 10;
// The largest size of a kernel's parameters on all supported devices.
constexpr size_t kMaxParameterBytes = 4096;

__host__ __device__ constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

#if defined(__CUDACC__)

#define GPU_DYNAMIC_SHARED(type, name)                                 \
  extern __shared__ __align__(128) unsigned char gpu_dynamic_shared[]; \
  type* const name = reinterpret_cast<type*>(gpu_dynamic_shared)

// op over the values of all lanes of a warp, in a tree of neighbours; every lane gets the result. op has no state.
template <typename T, typename Op>
__device__ __forceinline__ T over_lanes(T value, Op op) {
#pragma unroll
  for (int step = 1; step < kWarpSize; step *= 2) value = op(value, __shfl_xor_sync(kAllLanes, value, step));
  return value;
}

__host__ __device__ __forceinline__ float f16_to_float(uint16_t bits) { return __half2float(__ushort_as_half(bits)); }
__host__ __device__ __forceinline__ uint16_t float_to_f16(float x) { return __half_as_ushort(__float2half_rn(x)); }
__host__ __device__ __forceinline__ float bf16_to_float(uint16_t bits) {
  return __bfloat162float(__ushort_as_bfloat16(bits));
}
__host__ __device__ __forceinline__ uint16_t float_to_bf16(float x) {
  return __bfloat16_as_ushort(__float2bfloat16_rn(x));
}
__host__ __device__ __forceinline__ float e4m3_to_float(uint8_t bits) {
  return __half2float(__half(__nv_cvt_fp8_to_halfraw(bits, __NV_E4M3)));
}
// Beyond the largest number (448) saturates; NaN stays NaN.
__host__ __device__ __forceinline__ uint8_t float_to_e4m3(float x) {
  return __nv_cvt_float_to_fp8(x, __NV_SATFINITE, __NV_E4M3);
}

__device__ __forceinline__ void mma_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
__device__ __forceinline__ void mma_f16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
__device__ __forceinline__ void mma_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
__device__ __forceinline__ void mma_s8(int32_t (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
// The bits of x rounded to tf32, to nearest, ties away from zero: an operand of mma_tf32.
__device__ __forceinline__ uint32_t float_to_tf32(float x) {
  uint32_t bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
  return bits;
}

// Begins a copy of 16 bytes, both addresses aligned to 16; when !valid writes zeros and reads nothing. The copies since
// the last commit are a group; wait<n> returns when all but the thread's last n groups have arrived, for this thread;
// other threads see them after a __syncthreads.
__device__ __forceinline__ void cp_async_16(void* shared, const void* global, bool valid) {
  const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(global), "r"(valid ? 16 : 0)
               : "memory");
}
__device__ __forceinline__ void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int kPending>
__device__ __forceinline__ void cp_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

// c + the sum of the products of the four signed bytes of a and b.
__device__ __forceinline__ int dp4a(int a, int b, int c) { return __dp4a(a, b, c); }

// Runs the kernel on the stream; a grid without blocks runs nothing. Arguments are converted to the kernel's own types.
template <typename... Parameters>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes, Stream stream,
            const std::type_identity_t<Parameters>&... arguments) {
  static_assert((sizeof(Parameters) + ... + 0) <= kMaxParameterBytes);
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  if (shared_bytes > kSharedBytesUnasked) {
    check_gpu(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared_bytes)),
              "asking for shared memory");
  }
  kernel<<<grid, block, shared_bytes, stream>>>(arguments...);
  check_gpu(cudaGetLastError(), "launching a kernel");
}

#elif defined(QUIRE_GPU_EMULATED)

// NOLINTNEXTLINE(bugprone-macro-parentheses): a type and the name of a variable
#define GPU_DYNAMIC_SHARED(type, name) type* const name = static_cast<type*>(::quire::emulated::dynamic_shared())

template <typename... Parameters>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes, Stream stream,
            const std::type_identity_t<Parameters>&... arguments) {
  static_assert((sizeof(Parameters) + ... + 0) <= kMaxParameterBytes);
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  emulated::enqueue(stream, [=] { emulated::run_grid({grid, block, shared_bytes}, [=] { kernel(arguments...); }); });
}

#endif

#if defined(__CUDACC__) || defined(QUIRE_GPU_EMULATED)

__host__ __device__ __forceinline__ uint32_t pack_bf16(float low, float high) {
  return float_to_bf16(low) | static_cast<uint32_t>(float_to_bf16(high)) << 16;
}
__host__ __device__ __forceinline__ uint32_t pack_f16(float low, float high) {
  return float_to_f16(low) | static_cast<uint32_t>(float_to_f16(high)) << 16;
}

// Over the lanes of a warp, in a tree of neighbours. Every lane gets the result.
template <typename T>
__device__ __forceinline__ T warp_sum(T value) {
  return over_lanes(value, [](T a, T b) -> T { return a + b; });
}
__device__ __forceinline__ float warp_max(float value) {
  return over_lanes(value, [](float a, float b) -> float { return fmaxf(a, b); });
}

#endif

}  // namespace quire
