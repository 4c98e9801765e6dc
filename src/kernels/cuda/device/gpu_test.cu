// Compares the functions of gpu.h, on the device or emulated, with plain arithmetic.
#include "kernels/cuda/device/gpu.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "kernels/cuda/device/device_array.h"

namespace quire {
namespace {

class GpuPrimitives : public GpuTest {};

__global__ void reverse_block(const int* in, int* out) {
  __shared__ int staged[256];
  staged[threadIdx.x] = in[blockIdx.x * blockDim.x + threadIdx.x];
  __syncthreads();
  for (int round = 0; round < 3; ++round) {
    const int other = staged[blockDim.x - 1 - threadIdx.x];
    __syncthreads();
    staged[threadIdx.x] = other;
    __syncthreads();
  }
  out[blockIdx.x * blockDim.x + threadIdx.x] = staged[threadIdx.x];
}

TEST_F(GpuPrimitives, BarriersAndSharedMemory) {
  for (int threads : {1, 33, 96, 256}) {
    const int blocks = 3;
    std::vector<int> in(static_cast<size_t>(blocks * threads));
    for (size_t i = 0; i < in.size(); ++i) in[i] = static_cast<int>(i * 7);
    const DeviceArray<int> from(in);
    DeviceArray<int> to(in.size());
    launch(reverse_block, blocks, threads, 0, gpu_stream(gpu_exec()), from.data(), to.data());
    const std::vector<int> out = to.download();
    for (int i = 0; i < blocks * threads; ++i) {
      const int mirrored = i / threads * threads + threads - 1 - i % threads;
      ASSERT_EQ(out[static_cast<size_t>(i)], mirrored * 7) << threads;
    }
  }
}

constexpr int kWarpWords = 9;

__global__ void warp_words(int* out) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int value = static_cast<int>(threadIdx.x) * 3;
  int* mine = out + threadIdx.x * kWarpWords;
  mine[0] = __shfl_sync(kAllLanes, value, (lane + 5) % 32);
  mine[1] = __shfl_xor_sync(kAllLanes, value, 16);
  mine[2] = __shfl_up_sync(kAllLanes, value, 3);
  mine[3] = __shfl_down_sync(kAllLanes, value, 3);
  mine[4] = __shfl_xor_sync(kAllLanes, value, 2, 4);
  mine[5] = static_cast<int>(__ballot_sync(kAllLanes, lane % 3 == 0));
  mine[6] = __any_sync(kAllLanes, lane == 40) + 2 * __any_sync(kAllLanes, lane == 31);
  mine[7] = __shfl_sync(kAllLanes, value, 1, 8);
  mine[8] = __popc(static_cast<unsigned>(value)) * 64 + __ffs(value);
  __syncwarp();
}

TEST_F(GpuPrimitives, WarpOperations) {
  const int threads = 64;
  DeviceArray<int> to(static_cast<size_t>(threads * kWarpWords));
  launch(warp_words, 1, threads, 0, gpu_stream(gpu_exec()), to.data());
  const std::vector<int> out = to.download();
  unsigned thirds = 0;
  for (int lane = 0; lane < 32; lane += 3) thirds |= 1u << lane;
  for (int thread = 0; thread < threads; ++thread) {
    const int lane = thread % 32;
    const int warp = thread - lane;
    const int* got = out.data() + thread * kWarpWords;
    EXPECT_EQ(got[0], (warp + (lane + 5) % 32) * 3);
    EXPECT_EQ(got[1], (warp + (lane ^ 16)) * 3);
    EXPECT_EQ(got[2], (warp + (lane < 3 ? lane : lane - 3)) * 3);
    EXPECT_EQ(got[3], (warp + (lane > 28 ? lane : lane + 3)) * 3);
    EXPECT_EQ(got[4], (warp + (lane ^ 2)) * 3);
    EXPECT_EQ(static_cast<unsigned>(got[5]), thirds);
    EXPECT_EQ(got[6], 2);
    EXPECT_EQ(got[7], (warp + lane / 8 * 8 + 1) * 3);
    EXPECT_EQ(got[8], __builtin_popcount(static_cast<unsigned>(thread * 3)) * 64 + __builtin_ffs(thread * 3));
  }
}

// Sums blocks of 64 floats through two stages of shared memory that cp_async fills.
__global__ void sum_staged(const float* in, int num_stages, float* out) {
  GPU_DYNAMIC_SHARED(float, staged);
  const auto thread = static_cast<int>(threadIdx.x);
  auto fetch = [&](int stage) {
    if (thread < 16) {
      const bool valid = stage < num_stages;
      cp_async_16(staged + stage % 2 * 64 + thread * 4, in + (valid ? stage : 0) * 64 + thread * 4, valid);
    }
    cp_async_commit();
  };
  float sum = 0;
  fetch(0);
  for (int stage = 0; stage <= num_stages; ++stage) {
    fetch(stage + 1);
    cp_async_wait<1>();
    __syncthreads();
    sum += staged[stage % 2 * 64 + thread];
    __syncthreads();
  }
  cp_async_wait<0>();
  out[thread] = sum;
}

TEST_F(GpuPrimitives, CopiesInTheBackground) {
  const int stages = 5;
  std::vector<float> in(64 * stages);
  for (size_t i = 0; i < in.size(); ++i) in[i] = static_cast<float>(i);
  const DeviceArray<float> from(in);
  DeviceArray<float> to(64);
  // More than a kernel gets by default, so that requesting it is tested too.
  launch(sum_staged, 1, 64, 64 << 10, gpu_stream(gpu_exec()), from.data(), stages, to.data());
  const std::vector<float> out = to.download();
  for (int i = 0; i < 64; ++i) EXPECT_EQ(out[static_cast<size_t>(i)], static_cast<float>(5 * i + 64 * 10));
}

__global__ void number_types(const float* in, uint32_t* out) {
  const auto i = threadIdx.x;
  const float x = in[i];
  out[i * 6 + 0] = float_to_f16(x);
  out[i * 6 + 1] = float_to_bf16(x);
  out[i * 6 + 2] = float_to_e4m3(x);
  out[i * 6 + 3] = float_to_tf32(x);
  out[i * 6 + 4] = pack_bf16(x, 1.0f);
  out[i * 6 + 5] = pack_f16(1.0f, x);
}

__global__ void widen(const uint32_t* bits, float* out) {
  const auto i = threadIdx.x;
  out[i * 3 + 0] = f16_to_float(static_cast<uint16_t>(bits[i * 6 + 0]));
  out[i * 3 + 1] = bf16_to_float(static_cast<uint16_t>(bits[i * 6 + 1]));
  out[i * 3 + 2] = e4m3_to_float(static_cast<uint8_t>(bits[i * 6 + 2]));
}

TEST_F(GpuPrimitives, NumberTypes) {
  const std::vector<float> in = {0.0f,   -0.0f,         1.0f,    1.00390625f, 1.01171875f, -3.1415927f, 448.0f,
                                 460.0f, 1e30f,         -1e30f,  65504.0f,    65519.0f,    1e-7f,       -6e-8f,
                                 0.002f, 0.0009765625f, 3.3e38f, 17.0f,       19.0f,       1.0004883f};
  const DeviceArray<float> from(in);
  DeviceArray<uint32_t> bits(in.size() * 6);
  DeviceArray<float> back(in.size() * 3);
  const Stream stream = gpu_stream(gpu_exec());
  launch(number_types, 1, static_cast<unsigned>(in.size()), 0, stream, from.data(), bits.data());
  launch(widen, 1, static_cast<unsigned>(in.size()), 0, stream, bits.data(), back.data());
  const std::vector<uint32_t> narrow = bits.download();
  const std::vector<float> wide = back.download();
  // Spacing of each type around x: 10, 7 and 3 bits of mantissa, and the least step.
  const struct {
    int mantissa;
    int least;
    float largest;
  } types[] = {{10, -24, 65504.0f}, {7, -133, 3.39e38f}, {3, -9, 448.0f}};
  for (size_t i = 0; i < in.size(); ++i) {
    EXPECT_EQ(narrow[i * 6 + 4], narrow[i * 6 + 1] | 0x3f800000u);
    EXPECT_EQ(narrow[i * 6 + 5], narrow[i * 6 + 0] << 16 | 0x3c00u);
    for (size_t type = 0; type < 3; ++type) {
      const float x = in[i];
      const float got = wide[i * 3 + type];
      if (std::abs(x) >= types[type].largest) {
        // f16 overflows to infinity, e4m3 stays at its largest number.
        if (type == 2) {
          EXPECT_EQ(got, std::copysign(448.0f, x));
        }
        continue;
      }
      const float step =
          std::ldexp(1.0f, std::max(std::ilogb(x == 0 ? 1e-40f : x) - types[type].mantissa, types[type].least));
      EXPECT_LE(std::abs(got - x), step / 2) << x << " as type " << type;
      EXPECT_EQ(std::signbit(got), std::signbit(x));
    }
    EXPECT_EQ(narrow[i * 6 + 3] & 0x1fffu, 0u);
  }
  EXPECT_EQ(narrow[3 * 6 + 1], 0x3f80u);  // 1 + 2^-8: half way, to even
  EXPECT_EQ(narrow[4 * 6 + 1], 0x3f82u);  // 1 + 3 * 2^-8: half way, to even
  EXPECT_EQ(narrow[11 * 6 + 0], 0x7bffu);
  EXPECT_EQ(narrow[17 * 6 + 2], 0x58u);        // 17: half way between 16 and 18, to even
  EXPECT_EQ(narrow[18 * 6 + 2], 0x5au);        // 19: half way between 18 and 20, to even
  EXPECT_EQ(narrow[19 * 6 + 3], 0x3f802000u);  // 1 + 2^-11: half way, away from zero
}

enum class Product { kBf16, kF16, kTf32, kS8 };

// a [16][k], b [k][8], d [16][8] += a b; one warp. Elements are loaded one by one to show where each lies.
template <Product kProduct, int kDepth, typename Number>
__global__ void multiply(const Number* a, const Number* b, Number* d) {
  constexpr int kPer = kDepth / 8;  // numbers in a register
  const int g = static_cast<int>(threadIdx.x) / 4;
  const int t = static_cast<int>(threadIdx.x) % 4;
  auto encode = [](Number x) -> uint32_t {
    if constexpr (kProduct == Product::kBf16) return float_to_bf16(x);
    if constexpr (kProduct == Product::kF16) return float_to_f16(x);
    if constexpr (kProduct == Product::kTf32) return float_to_tf32(x);
    if constexpr (kProduct == Product::kS8) return static_cast<uint8_t>(x);
  };
  uint32_t fragment_a[4] = {};
  uint32_t fragment_b[2] = {};
  for (int i = 0; i < kPer; ++i) {
    const int shift = kPer == 1 ? 0 : 32 / kPer * i;
    for (int part = 0; part < 4; ++part) {
      const int row = g + part % 2 * 8;
      const int k = t * kPer + part / 2 * (kDepth / 2) + i;
      fragment_a[part] |= encode(a[row * kDepth + k]) << shift;
    }
    for (int part = 0; part < 2; ++part) {
      fragment_b[part] |= encode(b[(t * kPer + part * (kDepth / 2) + i) * 8 + g]) << shift;
    }
  }
  Number result[4];
  for (int i = 0; i < 4; ++i) result[i] = d[(g + i / 2 * 8) * 8 + t * 2 + i % 2];
  if constexpr (kProduct == Product::kBf16) mma_bf16(result, fragment_a, fragment_b);
  if constexpr (kProduct == Product::kF16) mma_f16(result, fragment_a, fragment_b);
  if constexpr (kProduct == Product::kTf32) mma_tf32(result, fragment_a, fragment_b);
  if constexpr (kProduct == Product::kS8) mma_s8(result, fragment_a, fragment_b);
  for (int i = 0; i < 4; ++i) d[(g + i / 2 * 8) * 8 + t * 2 + i % 2] = result[i];
}

// Small whole numbers: exact in every type, so any order of the sum gives the same.
template <Product kProduct, int kDepth, typename Number>
void check_product() {
  std::mt19937 random(7);
  auto numbers = [&](int count) {
    std::vector<Number> values(static_cast<size_t>(count));
    for (Number& x : values) x = static_cast<Number>(static_cast<int>(random() % 61) - 30);
    return values;
  };
  const std::vector<Number> a = numbers(16 * kDepth);
  const std::vector<Number> b = numbers(kDepth * 8);
  const std::vector<Number> d = numbers(16 * 8);
  const DeviceArray<Number> device_a(a);
  const DeviceArray<Number> device_b(b);
  DeviceArray<Number> device_d(d);
  launch(multiply<kProduct, kDepth, Number>, 1, 32, 0, gpu_stream(gpu_exec()), device_a.data(), device_b.data(),
         device_d.data());
  const std::vector<Number> got = device_d.download();
  for (size_t row = 0; row < 16; ++row) {
    for (size_t column = 0; column < 8; ++column) {
      Number want = d[row * 8 + column];
      for (size_t k = 0; k < kDepth; ++k) want += a[row * kDepth + k] * b[k * 8 + column];
      ASSERT_EQ(got[row * 8 + column], want) << row << ", " << column;
    }
  }
}

TEST_F(GpuPrimitives, ProductsOfBf16) { check_product<Product::kBf16, 16, float>(); }
TEST_F(GpuPrimitives, ProductsOfF16) { check_product<Product::kF16, 16, float>(); }
TEST_F(GpuPrimitives, ProductsOfTf32) { check_product<Product::kTf32, 8, float>(); }
TEST_F(GpuPrimitives, ProductsOfInt8) { check_product<Product::kS8, 32, int32_t>(); }

__global__ void count_and_dot(const int* a, const int* b, int* out) {
  out[4 + threadIdx.x] = dp4a(a[threadIdx.x], b[threadIdx.x], 1);
  atomicAdd(&out[0], 1);
  atomicMax(&out[1], static_cast<int>(threadIdx.x));
}

TEST_F(GpuPrimitives, AtomicsAndByteProducts) {
  std::vector<int> a(64);
  std::vector<int> b(64);
  std::mt19937 random(3);
  for (int& x : a) x = static_cast<int>(random());
  for (int& x : b) x = static_cast<int>(random());
  const DeviceArray<int> device_a(a);
  const DeviceArray<int> device_b(b);
  DeviceArray<int> to(std::vector<int>(68, 0));
  launch(count_and_dot, 5, 64, 0, gpu_stream(gpu_exec()), device_a.data(), device_b.data(), to.data());
  const std::vector<int> out = to.download();
  EXPECT_EQ(out[0], 5 * 64);
  EXPECT_EQ(out[1], 63);
  for (size_t i = 0; i < 64; ++i) {
    int want = 1;
    for (int shift = 0; shift < 32; shift += 8) {
      want += static_cast<int8_t>(a[i] >> shift) * static_cast<int8_t>(b[i] >> shift);
    }
    EXPECT_EQ(out[4 + i], want);
  }
}

TEST_F(GpuPrimitives, NoBlocksRunNothing) {
  DeviceArray<int> to(1);
  launch(warp_words, dim3(0), 64, 0, gpu_stream(gpu_exec()), to.data());
  EXPECT_EQ(to.download()[0], -1);
}

}  // namespace
}  // namespace quire
