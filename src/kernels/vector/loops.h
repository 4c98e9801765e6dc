// Loops over the threads of an Exec and over the vectors of a row. math.h says how the files of this folder are used.
#pragma once

#include "isa/vec.h"
#include "kernels/kernels.h"

namespace quire {
namespace {

constexpr int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// The smallest amount of work for another thread, in floats touched: starting work on a thread costs about 2 us.
constexpr int64_t kGrainFloats = 16384;

template <typename F>
void run_tasks(const Exec& exec, int64_t num_tasks, F& body) {
  if (num_tasks == 1) return body(0, 0);
  exec.run(
      exec.pool, num_tasks, [](void* context, int64_t task, int thread) { (*static_cast<F*>(context))(task, thread); },
      &body);
}

// Calls body(first, last) for slices of [0, count) that touch about kGrainFloats floats each.
template <typename F>
void for_slices(const Exec& exec, int64_t count, int64_t floats_per_item, F body) {
  const int64_t slice = floats_per_item >= kGrainFloats ? 1 : kGrainFloats / floats_per_item;
  auto run_slice = [=](int64_t task, int) {
    const int64_t first = task * slice;
    body(first, first + slice < count ? first + slice : count);
  };
  if (count > 0) run_tasks(exec, (count + slice - 1) / slice, run_slice);
}

// Calls body(i, n) for the n elements from i on; n = kLanes except for the last call.
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
