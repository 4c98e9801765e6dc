// Memory that kernels are measured over: weights that no cache holds, as in a step over all layers, and rows of
// numbers. Owned by a measurement and used by its thread.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernels.h"
#include "models/loading/matmul_tuning.h"
#include "tensor/aligned_buffer.h"

namespace quire {

// At least so many bytes, on huge pages as the engine's workspace is.
AlignedBuffer buffer_of(size_t bytes);
AlignedBuffer random_floats(int64_t count, float deviation = 1.0f);
float* floats(AlignedBuffer& buffer);
// Cosines and sines for `rope`, [num_rows, 2, head_dim / 2]: a rotation, so that values neither grow nor vanish.
AlignedBuffer rotations(int64_t num_rows, int64_t head_dim);

// Copies of a packed matrix, as many as fit `cold_bytes` but at least one; each call uses the next copy.
class PackedCopies {
 public:
  PackedCopies(const Kernels& table, const Exec& exec, const MatrixShape& shape, size_t cold_bytes);

  const MatrixShape& shape() const { return shape_; }
  const std::byte* next() { return memory_.data() + stride_ * (next_++ % num_copies_); }

 private:
  MatrixShape shape_;
  size_t stride_;
  size_t num_copies_;
  AlignedBuffer memory_;
  size_t next_ = 0;
};

// Multiplies a batch of `num_rows` rows by the copies; `copies` outlives it.
class ColdMatmul {
 public:
  ColdMatmul(const Kernels& table, const Exec& exec, PackedCopies& copies, int64_t num_rows);
  void call(const MatmulTuning& tuning);

 private:
  const Kernels& table_;
  Exec exec_;
  PackedCopies& copies_;
  AlignedBuffer x_;
  AlignedBuffer packed_;
  AlignedBuffer y_;
  int64_t num_rows_;
};

}  // namespace quire
