// The loops of roof_loops.h over the vector vocabulary.
#include "kernels/roof_loops.h"

#include "isa/bytes.h"
#include "isa/vec.h"
#include "kernels/vector/parts.h"

namespace quire::QUIRE_TABLE {
namespace {

constexpr size_t kRoofLine = 64;     // bytes of a cache line
constexpr size_t kRoofAhead = 1024;  // prefetch distance of several streams, bytes
constexpr int kRoofChains = 12;      // independent sums; latency times instructions per cycle is at most 10

inline void read_line(const std::byte* line, Bytes& bits) {
#pragma GCC unroll 2
  for (size_t at = 0; at < kRoofLine; at += sizeof(Bytes)) bits = or_bytes(bits, load_bytes(line + at));
}

// A single stream is left to the hardware prefetcher, which follows it best.
float read_memory(const std::byte* memory, size_t bytes, int num_streams) {
  Bytes bits[4];
#pragma GCC unroll 4
  for (Bytes& some : bits) some = set1_byte(0);
  const size_t stride = num_streams == 1 ? kRoofLine : bytes / 4;
  const size_t step = num_streams == 1 ? 4 * kRoofLine : kRoofLine;
  const size_t end = num_streams == 1 ? bytes : stride;
  for (size_t at = 0; at + step <= end; at += step) {
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; ++i) {
      const std::byte* const line = memory + at + i * stride;
      if (num_streams != 1) prefetch(line + kRoofAhead);
      read_line(line, bits[i]);
    }
  }
  return max_lanes(as_floats(or_bytes(or_bytes(bits[0], bits[1]), or_bytes(bits[2], bits[3]))));
}

// Runs chains of step(sum, factor); the sums are stored so that the compiler cannot remove them.
template <typename T, T (*step)(T sum, T factor)>
void run_chains(T start, T factor, int64_t num_steps) {
  T sums[kRoofChains];
  for (T& sum : sums) sum = start;
  for (int64_t i = 0; i < num_steps; ++i) {
#pragma GCC unroll 16
    for (T& sum : sums) sum = step(sum, factor);
  }
  volatile T kept = sums[0];
#pragma GCC unroll 16
  for (const T& sum : sums) kept = sum;
  (void)kept;
}

inline Vec multiply_add_step(Vec sum, Vec factor) { return fma(sum, factor, factor); }

double multiply_add_loop(int64_t num_steps) {
  run_chains<Vec, multiply_add_step>(set1(1.0f), set1(0.999f), num_steps);
  return 2.0 * kLanes * kRoofChains * static_cast<double>(num_steps);
}

double dot_loop(int64_t num_steps) {
  run_chains<Bytes, roof_dot_step>(set1_byte(1), set1_byte(1), num_steps);
  return 2.0 * sizeof(Bytes) * kRoofChains * static_cast<double>(num_steps);
}

}  // namespace

RoofLoops roof_loops() { return {read_memory, multiply_add_loop, dot_loop}; }

}  // namespace quire::QUIRE_TABLE
