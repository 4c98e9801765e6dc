// Weights rounded to E4M3 floats (tensor/float8.h) below a scale for each block of rows and columns.
#pragma once

#include <cstdint>

#include "base/thread_pool.h"
#include "compress/matrices/float8_matrix.h"
#include "compress/matrices/float_matrix.h"

namespace quire {

// Rows and columns that share a scale; 0: all of them.
struct Float8Blocks {
  int64_t rows = 1;
  int64_t cols = 0;
};
inline constexpr Float8Blocks kFloat8PerTensor = {.rows = 0, .cols = 0};
inline constexpr Float8Blocks kFloat8PerRow = {.rows = 1, .cols = 0};
inline constexpr Float8Blocks kFloat8Blocks128 = {.rows = 128, .cols = 128};

// The largest magnitude of a block becomes E4M3's largest.
Float8Matrix round_to_float8(const FloatMatrix& matrix, Float8Blocks blocks, ThreadPool& threads);

}  // namespace quire
