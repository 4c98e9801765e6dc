#include "kernels/cuda/bench/bench_loops.h"

namespace quire {
namespace {

constexpr int kThreads = 256;
constexpr int kBlocksPerProcessor = 8;

__device__ __forceinline__ size_t first_of_thread() { return blockIdx.x * size_t{blockDim.x} + threadIdx.x; }
__device__ __forceinline__ size_t num_threads() { return gridDim.x * size_t{blockDim.x}; }

// Knuth's multiplicative hash, then xorshift.
__global__ void __launch_bounds__(kThreads) fill(uint32_t* words, size_t count) {
  for (size_t i = first_of_thread(); i < count; i += num_threads()) {
    uint32_t x = static_cast<uint32_t>(i) * 2654435761u + 12345u;
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    words[i] = x & 0xbfbfbfbfu;
  }
}

__global__ void __launch_bounds__(kThreads) read(const uint4* fours, size_t count, uint32_t* out) {
  uint32_t sum = 0;
  for (size_t i = first_of_thread(); i < count; i += num_threads()) {
    const uint4 four = fours[i];
    sum ^= four.x ^ four.y ^ four.z ^ four.w;
  }
  if (sum == 1) *out = sum;  // almost never, but the compiler does not know
}

constexpr int kInFlight = 8;

__global__ void __launch_bounds__(kThreads) multiply(int steps, float* out) {
  float d[kInFlight][4] = {};
  const uint32_t a[4] = {threadIdx.x, 1, 2, 3};
  const uint32_t b[2] = {threadIdx.x, 5};
  for (int step = 0; step < steps; ++step) {
    for (auto& sum : d) mma_bf16(sum, a, b);
  }
  float total = 0.0f;
  for (const auto& sum : d) total += sum[0] + sum[1] + sum[2] + sum[3];
  if (total == 1.0f) *out = total;
}

}  // namespace

void fill_random(Stream stream, uint32_t* words, size_t count) {
  launch(fill, 1024, kThreads, 0, stream, words, count);
}

void read_all(Stream stream, int processors, const uint32_t* words, size_t count, uint32_t* out) {
  launch(read, static_cast<unsigned>(processors * kBlocksPerProcessor), kThreads, 0, stream,
         reinterpret_cast<const uint4*>(words), count / 4, out);
}

double multiply_bf16(Stream stream, int processors, int steps, uint32_t* out) {
  launch(multiply, static_cast<unsigned>(processors), kThreads, 0, stream, steps, reinterpret_cast<float*>(out));
  return 2.0 * 16 * 8 * 16 * kInFlight * steps * (kThreads / kWarpSize) * processors;
}

}  // namespace quire
