// The packed rows of a vector table that are multiplied in floating point (Kernels::pack_rows): bf16 or floats, one
// after the other. math.h says how the files of this folder are used.
#pragma once

#include "kernels/vector/loops.h"

namespace quire {
namespace {

// Rows are an odd number of cache lines apart, so that the same columns of several tokens do not share a cache set.
inline size_t odd_lines(size_t bytes) { return ((bytes + 63) / 64 | 1) * 64; }

// Columns beyond the last, up to a multiple of kGroup, are zeros.
inline size_t bf16_row_bytes(int64_t cols) { return odd_lines(static_cast<size_t>(cols) * sizeof(uint16_t)); }
inline size_t f32_row_bytes(int64_t cols) { return odd_lines(static_cast<size_t>(cols) * sizeof(float)); }

}  // namespace
}  // namespace quire
