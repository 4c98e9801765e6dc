// The loops that reach the peak rates of an instruction set; kernels/roofs.h times them. Files compiled for one
// instruction set include this header, as they include kernels.h: it holds plain data only.
#pragma once

#include <cstddef>
#include <cstdint>

namespace quire {

struct RoofLoops {
  // Reads the memory in num_streams (1 or 4) interleaved streams: machines differ in the pattern that they prefetch
  // best. Returns a value that depends on what was read, so that the compiler cannot remove the reads.
  float (*read)(const std::byte* memory, size_t bytes, int num_streams);
  // Run num_steps rounds of work in registers and return the number of operations (a multiply-add counts as two): FP32
  // multiply-adds, and int8 products with their sums.
  double (*multiply_add)(int64_t num_steps);
  double (*dot)(int64_t num_steps);
};

}  // namespace quire
