// Small squares of elements with rows and columns exchanged. See math.h for how files of this folder are used.
#pragma once

#include <cstdint>

namespace quire {
namespace {

using WordRow = uint32_t __attribute__((vector_size(16)));
using HalfRow = uint16_t __attribute__((vector_size(16)));

inline WordRow interleave_low(WordRow a, WordRow b) { return __builtin_shufflevector(a, b, 0, 4, 1, 5); }
inline WordRow interleave_high(WordRow a, WordRow b) { return __builtin_shufflevector(a, b, 2, 6, 3, 7); }
inline HalfRow interleave_low(HalfRow a, HalfRow b) { return __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11); }
inline HalfRow interleave_high(HalfRow a, HalfRow b) {
  return __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
}

// log2(kSize) rounds of interleaving row i with row i + kSize / 2 transpose kSize rows.
template <typename Row, int kSize>
inline void transpose(Row (&rows)[kSize]) {
#pragma GCC unroll 4
  for (int done = 1; done < kSize; done *= 2) {
    Row next[kSize];
#pragma GCC unroll 8
    for (int i = 0; i < kSize / 2; ++i) {
      next[2 * i] = interleave_low(rows[i], rows[i + kSize / 2]);
      next[2 * i + 1] = interleave_high(rows[i], rows[i + kSize / 2]);
    }
#pragma GCC unroll 8
    for (int i = 0; i < kSize; ++i) rows[i] = next[i];
  }
}

}  // namespace
}  // namespace quire
