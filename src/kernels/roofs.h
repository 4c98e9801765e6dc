// Measures the peak rates of the machine in the same run as a kernel, so that a benchmark can print shares of them. For
// benchmarks only. The loops are those of the table's instruction set (roof_loops.h); the reference table is compared
// with the best instruction set of the machine.
#pragma once

#include <cstddef>
#include <span>

#include "base/thread_pool.h"
#include "kernels/kernels.h"
#include "kernels/roof_loops.h"

namespace quire {

// Seconds since an arbitrary start: wall-clock time, and processor time of the calling thread. Other programs do not
// lengthen the latter, but it is of use with a single thread only.
double now_s();
double processor_now_s();

class RoofMeter {
 public:
  using Clock = double (*)();
  // `pool` must outlive the meter. Use processor time only with a pool of one thread.
  RoofMeter(ThreadPool& pool, const Kernels& table, Clock clock = now_s);

  // Bytes per second of reading `memory` once on all threads: the better of the patterns of RoofLoops::read. The memory
  // should be far larger than the caches and lie on huge pages (AlignedBuffer).
  double read(std::span<const std::byte> memory) const;
  // FP32 and int8 operations per second, from registers, on all threads; 0 when this build has no such loop for the
  // machine.
  double multiply_add() const;
  double dot() const;
  // int8 operations with operands from the second-level cache; 0 for a table whose rate does not depend on it.
  double cached_dot() const;

 private:
  double operations(double (*loop)(int64_t num_steps)) const;

  ThreadPool& pool_;
  RoofLoops loops_;
  double (*cached_dot_)(int64_t num_steps);
  Clock clock_;
};

// The same for the best table of the machine, in wall-clock time.
double measure_read_roof(ThreadPool& pool, std::span<const std::byte> memory);
double measure_fma_roof(ThreadPool& pool);
double measure_dot_roof(ThreadPool& pool);

}  // namespace quire
