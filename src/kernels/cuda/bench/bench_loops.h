// The device loops with which cuda_bench.cpp measures roofs, and the one that fills its arrays.
#pragma once

#include "kernels/cuda/device/gpu.h"

namespace quire {

// Random bits, but no exponent of any float format above that of 1.
void fill_random(Stream stream, uint32_t* words, size_t count);

// Reads every word once. `out` is almost never written. count is a multiple of 4.
void read_all(Stream stream, int processors, const uint32_t* words, size_t count, uint32_t* out);

// Products of bf16 in registers on all tensor cores; returns the number of operations, two for each product.
double multiply_bf16(Stream stream, int processors, int steps, uint32_t* out);

}  // namespace quire
