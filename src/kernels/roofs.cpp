#include "kernels/roofs.h"

#include <immintrin.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>

namespace quire {
namespace {

std::atomic<uint64_t> sink;  // results go here so that the loops cannot be removed

// Four streams of a slice, a cache line from each in turn.
__attribute__((target("avx2"))) uint64_t read_slice(const std::byte* slice, size_t bytes) {
  constexpr size_t kStreams = 4;
  constexpr size_t kAhead = 1024;
  const size_t part = bytes / kStreams;
  __m256i a = _mm256_setzero_si256();
  __m256i b = a;
  for (size_t i = 0; i + 64 <= part; i += 64) {
    for (size_t stream = 0; stream < kStreams; ++stream) {
      const std::byte* p = slice + stream * part + i;
      _mm_prefetch(reinterpret_cast<const char*>(p + kAhead), _MM_HINT_T0);
      a = _mm256_xor_si256(a, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
      b = _mm256_xor_si256(b, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 32)));
    }
  }
  return static_cast<uint64_t>(_mm256_extract_epi64(_mm256_xor_si256(a, b), 0));
}

constexpr int64_t kFmaSteps = 400'000;
constexpr int kChains = 12;

__attribute__((target("avx512f"))) double fma_avx512() {
  __m512 sums[kChains];
  for (__m512& sum : sums) sum = _mm512_set1_ps(1.0f);
  const __m512 factor = _mm512_set1_ps(0.999f);
  for (int64_t step = 0; step < kFmaSteps; ++step) {
#pragma GCC unroll 16
    for (__m512& sum : sums) sum = _mm512_fmadd_ps(sum, factor, factor);
  }
  float total = 0;
  for (const __m512& sum : sums) total += _mm512_cvtss_f32(sum);
  sink += static_cast<uint64_t>(total);
  return 2.0 * 16 * kChains * kFmaSteps;
}

__attribute__((target("avx2,fma"))) double fma_avx2() {
  __m256 sums[kChains];
  for (__m256& sum : sums) sum = _mm256_set1_ps(1.0f);
  const __m256 factor = _mm256_set1_ps(0.999f);
  for (int64_t step = 0; step < kFmaSteps; ++step) {
#pragma GCC unroll 16
    for (__m256& sum : sums) sum = _mm256_fmadd_ps(sum, factor, factor);
  }
  float total = 0;
  for (const __m256& sum : sums) total += _mm256_cvtss_f32(sum);
  sink += static_cast<uint64_t>(total);
  return 2.0 * 8 * kChains * kFmaSteps;
}

__attribute__((target("avx512f,avx512vnni"))) double dot_avx512() {
  __m512i sums[kChains];
  for (__m512i& sum : sums) sum = _mm512_setzero_si512();
  const __m512i factor = _mm512_set1_epi8(1);
  for (int64_t step = 0; step < kFmaSteps; ++step) {
#pragma GCC unroll 16
    for (__m512i& sum : sums) sum = _mm512_dpbusd_epi32(sum, factor, factor);
  }
  for (const __m512i& sum : sums) sink += static_cast<uint64_t>(_mm_cvtsi128_si32(_mm512_castsi512_si128(sum)));
  return 2.0 * 64 * kChains * kFmaSteps;
}

// Each result is the next one's operand: a chain of its own, as a sum would be.
__attribute__((target("avx2"))) double dot_avx2() {
  __m256i values[kChains];
  for (__m256i& value : values) value = _mm256_set1_epi8(1);
  const __m256i factor = _mm256_set1_epi8(1);
  for (int64_t step = 0; step < kFmaSteps; ++step) {
#pragma GCC unroll 16
    for (__m256i& value : values) value = _mm256_maddubs_epi16(value, factor);
  }
  for (const __m256i& value : values) sink += static_cast<uint64_t>(_mm256_extract_epi64(value, 0));
  return 2.0 * 32 * kChains * kFmaSteps;
}

// Operations per second of `run`, which says how many it did, on all threads.
double operations_roof(ThreadPool& pool, double (*run)()) {
  const int64_t num_tiles = 8 * int64_t{pool.num_threads()};
  double operations = 0;
  const double start = now_s();
  pool.parallel_for(num_tiles, [&](int64_t tile, int) {
    const double done = run();
    if (tile == 0) operations = done * static_cast<double>(num_tiles);
  });
  return operations / (now_s() - start);
}

}  // namespace

double now_s() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

double measure_read_roof(ThreadPool& pool, std::span<const std::byte> memory) {
  constexpr size_t kSlice = size_t{4} << 20;
  const auto num_slices = static_cast<int64_t>(memory.size() / kSlice);
  const double start = now_s();
  pool.parallel_for(num_slices, [&](int64_t slice, int) {
    sink += read_slice(memory.data() + static_cast<size_t>(slice) * kSlice, kSlice);
  });
  return static_cast<double>(num_slices) * kSlice / (now_s() - start);
}

double measure_fma_roof(ThreadPool& pool) {
  return operations_roof(pool, __builtin_cpu_supports("avx512f") ? fma_avx512 : fma_avx2);
}

double measure_dot_roof(ThreadPool& pool) {
  return operations_roof(pool, __builtin_cpu_supports("avx512vnni") ? dot_avx512 : dot_avx2);
}

}  // namespace quire
