// The loops that reach what one instruction set can do at most; kernels/roofs.h times them. Like kernels.h, included by
// files compiled for one instruction set: plain data only.
#pragma once

#include <cstddef>
#include <cstdint>

namespace quire {

struct RoofLoops {
  // Reads all of the memory, `num_streams` (1 or 4) places of it in turn: which pattern the hardware fetches best
  // differs between machines. Returns something of what was read.
  float (*read)(const std::byte* memory, size_t bytes, int num_streams);
  // These do `num_steps` rounds of work in registers and return how many operations that was (a multiply-add is two):
  // FP32 multiply-adds, and int8 products with their sums.
  double (*multiply_add)(int64_t num_steps);
  double (*dot)(int64_t num_steps);
};

}  // namespace quire
