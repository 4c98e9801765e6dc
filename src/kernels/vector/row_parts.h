// The operations on one row that the kernels of rows.cpp and packed_rows.cpp share: both must give the same bits.
// math.h says how the files of this folder are used.
#pragma once

#include "isa/vec.h"
#include "kernels/kernels.h"
#include "kernels/vector/loops.h"
#include "kernels/vector/math.h"

namespace quire {
namespace {

inline float sum_of_squares(const float* x, int64_t dim) {
  Vec sums[4] = {set1(0), set1(0), set1(0), set1(0)};
  int64_t i = 0;
  for (; i + 4 * kLanes <= dim; i += 4 * kLanes) {
    for (int part = 0; part < 4; ++part) {
      const Vec v = load(x + i + part * kLanes);
      sums[part] = fma(v, v, sums[part]);
    }
  }
  for_vectors(dim - i, [&](int64_t j, int n) {
    const Vec v = load_some(x + i + j, n);
    sums[0] = fma(v, v, sums[0]);
  });
  return sum_lanes(add(add(sums[0], sums[1]), add(sums[2], sums[3])));
}

// The factor by which RMSNorm multiplies a row.
inline float rms_scale(const float* x, float eps, int64_t dim) {
  const double mean = static_cast<double>(sum_of_squares(x, dim)) / static_cast<double>(dim);
  return static_cast<float>(1.0 / __builtin_sqrt(mean + eps));
}

inline Vec normed(const float* x, Vec scale, const float* weight, int n) {
  return mul(mul(load_some(x, n), scale), load_some(weight, n));
}

inline void norm_row(const float* x, const float* weight, float eps, int64_t dim, float* out) {
  const Vec scale = set1(rms_scale(x, eps, dim));
  for_vectors(dim, [=](int64_t i, int n) { store_some(out + i, normed(x + i, scale, weight + i, n), n); });
}

template <Vec (*activate)(Vec)>
inline void gate_row(const float* gate, const float* up, int64_t dim, float* out) {
  for_vectors(dim, [=](int64_t i, int n) {
    store_some(out + i, mul(activate(load_some(gate + i, n)), load_some(up + i, n)), n);
  });
}

using GateRow = void (*)(const float* gate, const float* up, int64_t dim, float* out);
inline GateRow gate_row_for(Activation kind) {
  return kind == Activation::kSilu       ? gate_row<silu>
         : kind == Activation::kGeluTanh ? gate_row<gelu_tanh>
                                         : gate_row<gelu>;
}

}  // namespace
}  // namespace quire
