// Loops over the threads of an Exec and over the vectors of a row. See math.h for how files of this folder are used.
#pragma once

#include "isa/vec.h"
#include "kernels/kernels.h"

namespace quire {
namespace {

constexpr int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Work worth handing to another thread, in floats touched: a hand-off costs about 2 us.
constexpr int64_t kGrainFloats = 16384;

template <typename F>
void run_tiles(const Exec& exec, int64_t num_tiles, F& body) {
  if (num_tiles == 1) return body(0, 0);
  exec.run(
      exec.pool, num_tiles, [](void* context, int64_t tile, int thread) { (*static_cast<F*>(context))(tile, thread); },
      &body);
}

// body(first, last) over slices of [0, count), each of whole items worth kGrainFloats.
template <typename F>
void for_slices(const Exec& exec, int64_t count, int64_t floats_per_item, F body) {
  const int64_t slice = floats_per_item >= kGrainFloats ? 1 : kGrainFloats / floats_per_item;
  auto run_slice = [=](int64_t tile, int) {
    const int64_t first = tile * slice;
    body(first, first + slice < count ? first + slice : count);
  };
  if (count > 0) run_tiles(exec, (count + slice - 1) / slice, run_slice);
}

// body(i, n): the n elements from i on, n = kLanes but for the last.
template <typename F>
inline void for_vectors(int64_t count, F body) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) body(i, kLanes);
  if (i < count) body(i, static_cast<int>(count - i));
}

inline Vec load_some(const float* p, int n) { return n == kLanes ? load(p) : load_first(p, n); }
inline void store_some(float* p, Vec x, int n) { n == kLanes ? store(p, x) : store_first(p, x, n); }

}  // namespace
}  // namespace quire
