// Counter-based random numbers: the i-th number of a seed is a pure function of (seed, i), so a sequence draws the same
// numbers alone, batched, or run again after preemption. Philox4x32-10 (Salmon et al., SC11).
#pragma once

#include <cstdint>

namespace quire {

// 64 random bits for position `counter` of stream `seed`.
uint64_t philox(uint64_t seed, uint64_t counter);

// Uniform in [0, 1), 53 bits.
inline double uniform(uint64_t seed, uint64_t counter) {
  return static_cast<double>(philox(seed, counter) >> 11) * 0x1p-53;
}

}  // namespace quire
