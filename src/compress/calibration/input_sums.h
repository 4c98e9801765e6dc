// Sums over rows of inputs, as they come: InputStatistics in the making. The threads divide columns, never a sum.
#pragma once

#include <cstdint>
#include <vector>

#include "base/thread_pool.h"
#include "compress/calibration/input_statistics.h"
#include "kernels/kernels.h"
#include "tensor/aligned_buffer.h"

namespace quire {

// Where sums are computed; shared by all of a layer.
class SumWorkers {
 public:
  SumWorkers(const Kernels& kernels, ThreadPool& threads);

  ThreadPool& threads() { return threads_; }
  // products [cols, cols] += x^T x for x [num_rows, cols]: the lower half, and what it shares blocks with.
  void add_products(const float* x, int64_t num_rows, int64_t cols, float* products);

 private:
  const Kernels& kernels_;
  ThreadPool& threads_;
  AlignedBuffer scratch_;
  Exec exec_;
  AlignedBuffer columns_;  // [cols, num_rows padded]: x transposed
  AlignedBuffer packed_;   // the same, as the matrix that is multiplied
};

class InputSums {
 public:
  // `expected_rows`: how many will come at most; sampled rows are spread over them.
  InputSums(int64_t cols, const StatisticsWanted& wanted, int64_t expected_rows);

  void add(const float* x, int64_t num_rows, SumWorkers& workers);
  InputStatistics take();

 private:
  InputStatistics statistics_;
  std::vector<double> squares_;  // [cols]
  int64_t sample_rows_;
  int64_t expected_rows_;
};

}  // namespace quire
