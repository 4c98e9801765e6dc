// Kernels::hadamard_heads of one head. See math.h for how files of this folder are used.
#pragma once

#include "isa/vec.h"

namespace quire {
namespace {

// Neighbours `kDistance` lanes apart to their sum and their difference. The product by 1 or -1 is exact.
template <int kDistance>
inline Vec sums_and_differences(Vec x) {
  alignas(64) float signs[kLanes];
  for (int i = 0; i < kLanes; ++i) signs[i] = (i & kDistance) == 0 ? 1.0f : -1.0f;
  return fma(x, load(signs), exchange_lanes<kDistance>(x));
}

// The distances inside a vector, the widest first.
inline Vec hadamard_lanes(Vec x) {
  if constexpr (kLanes == 16) x = sums_and_differences<8>(x);
  return sums_and_differences<1>(sums_and_differences<2>(sums_and_differences<4>(x)));
}

inline void hadamard_step(float* first, float* second) {
  const Vec a = load(first);
  const Vec b = load(second);
  store(first, add(a, b));
  store(second, sub(a, b));
}

// `size` floats, a power of two, fewer than a vector's.
inline void hadamard_narrow(float* x, int size) {
  for (int distance = size / 2; distance > 0; distance /= 2) {
    for (int i = 0; i < size; ++i) {
      if ((i & distance) != 0) continue;
      const float first = x[i];
      x[i] = first + x[i + distance];
      x[i + distance] = first - x[i + distance];
    }
  }
}

inline void hadamard_head(float* head, int head_dim) {
  const int size = head_dim & -head_dim;
  const float scale = 1.0f / __builtin_sqrtf(static_cast<float>(size));
  for (float* x = head; x != head + head_dim; x += size) {
    if (size < kLanes) {
      hadamard_narrow(x, size);
      for (int i = 0; i < size; ++i) x[i] *= scale;
      continue;
    }
    for (int distance = size / 2; distance >= kLanes; distance /= 2) {
      for (int first = 0; first < size; first += 2 * distance) {
        for (int i = first; i < first + distance; i += kLanes) hadamard_step(x + i, x + i + distance);
      }
    }
    for (int i = 0; i < size; i += kLanes) store(x + i, mul(hadamard_lanes(load(x + i)), set1(scale)));
  }
}

}  // namespace
}  // namespace quire
