// The functions of gpu.h on the CPU, to test kernels where there is no GPU. Included by gpu.h under QUIRE_GPU_EMULATED.
//
// A block's threads are fibers of the calling OS thread; blocks run one after another. A fiber runs until a barrier or
// a warp-wide call; then the next thread of its warp runs, then the next warp. Odd blocks run their lanes backwards, so
// that a missing barrier shows. Behaviour that is undefined on hardware ends the process with a message: threads of a
// block that wait at different barriers or return while others wait, lanes of a warp that do not make the same
// warp-wide call, a lane mask that is not full. cp_async copies at the wait, not before. __shared__ arrays keep the
// contents of the last block; dynamic shared memory begins as NaN.
#pragma once

#include <math.h>

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <type_traits>

#include "kernels/cuda/emulator/emulated_runtime.h"
#include "tensor/float8.h"
#include "tensor/half.h"

// NOLINTBEGIN(readability-identifier-naming, bugprone-reserved-identifier): CUDA's own names.
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __shared__ static thread_local
#define __constant__ static const
#define __restrict__ __restrict

struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(8) int2 {
  int x, y;
};
struct alignas(16) int4 {
  int x, y, z, w;
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline int2 make_int2(int x, int y) { return {x, y}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

namespace quire::emulated {

// The place of the call that took it as a default argument. (clang 14 has no std::source_location of this library.)
struct Where {
  const char* file;
  unsigned line;

  static constexpr Where current(const char* its_file = __builtin_FILE(), unsigned its_line = __builtin_LINE()) {
    return {its_file, its_line};
  }
};

struct Launch {
  dim3 grid;
  dim3 block;
  size_t shared_bytes = 0;
};
// Runs body once per thread of the grid.
void run_grid(const Launch& launch, const std::function<void()>& body);

void* dynamic_shared();
int lane();
void block_barrier(const Where& where);

// Ends the process.
[[noreturn]] void broken(const char* what, const Where& where);

// Waits until all lanes of the warp have arrived; the last one runs op over the values of all lanes.
using WarpOp = void (*)(void* const (&lanes)[32]);
void warp_together(WarpOp op, void* mine, unsigned mask, const Where& where);

template <typename T>
struct Shuffled {
  T value;
  int source;
  T result;
};

template <typename T>
T shuffle(unsigned mask, T value, int source, const Where& where) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8);
  Shuffled<T> mine{value, source, {}};
  warp_together(
      [](void* const(&lanes)[32]) {
        for (void* lane : lanes) {
          auto* to = static_cast<Shuffled<T>*>(lane);
          to->result = static_cast<const Shuffled<T>*>(lanes[to->source])->value;
        }
      },
      &mine, mask, where);
  return mine.result;
}

template <typename T, typename Op>
struct Reduced {
  T value;
  Op op;
};

inline int segment(int width) { return lane() & ~(width - 1); }

void cp_async(void* shared, const void* global, bool valid);
void cp_async_commit();
void cp_async_wait(int pending);

}  // namespace quire::emulated

extern thread_local constinit uint3 threadIdx;
extern thread_local constinit uint3 blockIdx;
extern thread_local constinit dim3 blockDim;
extern thread_local constinit dim3 gridDim;

inline void __syncthreads(quire::emulated::Where where = quire::emulated::Where::current()) {
  quire::emulated::block_barrier(where);
}
inline void __syncwarp(unsigned mask = 0xffffffffu, quire::emulated::Where where = quire::emulated::Where::current()) {
  quire::emulated::warp_together([](void* const(&)[32]) {}, nullptr, mask, where);
}

template <typename T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32,
              quire::emulated::Where where = quire::emulated::Where::current()) {
  return quire::emulated::shuffle(mask, value, quire::emulated::segment(width) + (source & (width - 1)), where);
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = 32,
                  quire::emulated::Where where = quire::emulated::Where::current()) {
  const int lane = quire::emulated::lane();
  const int source = lane ^ lane_mask;
  const bool inside = source < quire::emulated::segment(width) + width;
  return quire::emulated::shuffle(mask, value, inside ? source : lane, where);
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32,
                 quire::emulated::Where where = quire::emulated::Where::current()) {
  const int lane = quire::emulated::lane();
  const int source = lane - static_cast<int>(delta);
  return quire::emulated::shuffle(mask, value, source >= quire::emulated::segment(width) ? source : lane, where);
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32,
                   quire::emulated::Where where = quire::emulated::Where::current()) {
  const int lane = quire::emulated::lane();
  const int source = lane + static_cast<int>(delta);
  const bool inside = source < quire::emulated::segment(width) + width;
  return quire::emulated::shuffle(mask, value, inside ? source : lane, where);
}
unsigned __ballot_sync(unsigned mask, int predicate, quire::emulated::Where where = quire::emulated::Where::current());
inline int __any_sync(unsigned mask, int predicate, quire::emulated::Where where = quire::emulated::Where::current()) {
  return __ballot_sync(mask, predicate, where) != 0 ? 1 : 0;
}
inline int __all_sync(unsigned mask, int predicate, quire::emulated::Where where = quire::emulated::Where::current()) {
  return __ballot_sync(mask, predicate, where) == 0xffffffffu ? 1 : 0;
}

inline int atomicAdd(int* to, int value) { return __atomic_fetch_add(to, value, __ATOMIC_RELAXED); }
inline unsigned atomicAdd(unsigned* to, unsigned value) { return __atomic_fetch_add(to, value, __ATOMIC_RELAXED); }
inline unsigned long long atomicAdd(unsigned long long* to, unsigned long long value) {
  return __atomic_fetch_add(to, value, __ATOMIC_RELAXED);
}
template <typename T>
requires std::is_same_v<T, int> || std::is_same_v<T, unsigned> T atomicMax(T* to, T value) {
  const T before = *to;
  if (value > before) *to = value;
  return before;
}
inline void __threadfence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

template <typename T>
T __ldg(const T* from) {
  return *from;
}
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz(static_cast<unsigned>(x)); }
inline float __int_as_float(int bits) { return std::bit_cast<float>(bits); }
inline float __uint_as_float(unsigned bits) { return std::bit_cast<float>(bits); }
inline int __float_as_int(float x) { return std::bit_cast<int>(x); }
inline unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }

inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a > b ? a : b; }
inline unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }
inline unsigned max(unsigned a, unsigned b) { return a > b ? a : b; }
inline long min(long a, long b) { return a < b ? a : b; }
inline long max(long a, long b) { return a > b ? a : b; }

namespace quire {

// As a tree of shuffles, in one warp-wide call.
template <typename T, typename Op>
T over_lanes(T value, Op op, emulated::Where where = emulated::Where::current()) {
  using Mine = emulated::Reduced<T, Op>;
  Mine mine{value, op};
  emulated::warp_together(
      [](void* const(&lanes)[32]) {
        for (int step = 1; step < 32; step *= 2) {
          T others[32];
          for (int lane = 0; lane < 32; ++lane) others[lane] = static_cast<const Mine*>(lanes[lane ^ step])->value;
          for (int lane = 0; lane < 32; ++lane) {
            auto* to = static_cast<Mine*>(lanes[lane]);
            to->value = to->op(to->value, others[lane]);
          }
        }
      },
      &mine, 0xffffffffu, where);
  return mine.value;
}

inline float f16_to_float(uint16_t bits) { return f16_to_f32(bits); }
inline uint16_t float_to_f16(float x) { return f32_to_f16(x); }
inline float bf16_to_float(uint16_t bits) { return bf16_to_f32(bits); }
inline uint16_t float_to_bf16(float x) { return f32_to_bf16(x); }
inline float e4m3_to_float(uint8_t bits) { return e4m3_to_f32(bits); }
inline uint8_t float_to_e4m3(float x) { return f32_to_e4m3(x); }

void mma_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
              emulated::Where where = emulated::Where::current());
void mma_f16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
             emulated::Where where = emulated::Where::current());
void mma_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
              emulated::Where where = emulated::Where::current());
void mma_s8(int32_t (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
            emulated::Where where = emulated::Where::current());

// The last 13 bits of the mantissa are dropped, to nearest, ties away from zero.
inline uint32_t float_to_tf32(float x) {
  const auto bits = std::bit_cast<uint32_t>(x);
  return std::isfinite(x) ? (bits + 0x1000u) & ~0x1fffu : bits;
}

inline void cp_async_16(void* shared, const void* global, bool valid) { emulated::cp_async(shared, global, valid); }
inline void cp_async_commit() { emulated::cp_async_commit(); }
template <int kPending>
void cp_async_wait() {
  emulated::cp_async_wait(kPending);
}

inline int dp4a(int a, int b, int c) {
  for (int shift = 0; shift < 32; shift += 8) c += static_cast<int8_t>(a >> shift) * static_cast<int8_t>(b >> shift);
  return c;
}

}  // namespace quire
// NOLINTEND(readability-identifier-naming, bugprone-reserved-identifier)
