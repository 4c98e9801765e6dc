#include "apps/bench_kernel_memory.h"

#include <algorithm>
#include <cstring>
#include <random>
#include <vector>

namespace quire {

AlignedBuffer buffer_of(size_t bytes) { return AlignedBuffer(std::max(bytes, AlignedBuffer::kHugePageBytes)); }

AlignedBuffer random_floats(int64_t count, float deviation) {
  AlignedBuffer buffer = buffer_of(static_cast<size_t>(count) * sizeof(float));
  std::minstd_rand random(1);
  for (float& value : buffer.as<float>().first(static_cast<size_t>(count))) {
    value = deviation * (static_cast<float>(random() % 4001) / 1000.0f - 2.0f);
  }
  return buffer;
}

float* floats(AlignedBuffer& buffer) { return buffer.as<float>().data(); }

AlignedBuffer rotations(int64_t num_rows, int64_t head_dim) {
  AlignedBuffer cos_sin = buffer_of(static_cast<size_t>(num_rows * head_dim) * sizeof(float));
  for (int64_t i = 0; i < num_rows * head_dim; ++i) floats(cos_sin)[i] = i % head_dim < head_dim / 2 ? 0.6f : 0.8f;
  return cos_sin;
}

PackedCopies::PackedCopies(const Kernels& table, const Exec& exec, const MatrixShape& shape, size_t cold_bytes)
    : shape_(shape),
      stride_((table.packed_bytes(shape.format, shape.rows, shape.cols) + 4095) / 4096 * 4096),
      num_copies_(std::max<size_t>(1, cold_bytes / stride_)),
      memory_(stride_ * num_copies_) {
  const WeightFormat& info = weight_format(shape.format);
  const size_t row_bytes = info.bytes_of(shape.cols);
  AlignedBuffer row = random_floats(shape.cols, 0.01f);
  std::vector<std::byte> file(row_bytes * static_cast<size_t>(shape.rows));
  info.quantize(floats(row), file.data(), shape.cols);
  for (size_t at = row_bytes; at < file.size(); at += row_bytes) std::memcpy(&file[at], file.data(), row_bytes);
  table.pack(exec, shape.format, shape.rows, shape.cols, file.data(), memory_.data());
  for (size_t i = 1; i < num_copies_; ++i) std::memcpy(memory_.data() + i * stride_, memory_.data(), stride_);
}

ColdMatmul::ColdMatmul(const Kernels& table, const Exec& exec, PackedCopies& copies, int64_t num_rows)
    : table_(table),
      exec_(exec),
      copies_(copies),
      x_(random_floats(num_rows * copies.shape().cols)),
      y_(buffer_of(static_cast<size_t>(num_rows * copies.shape().rows) * sizeof(float))),
      num_rows_(num_rows) {
  if (!table.takes_packed(copies.shape().format)) return;
  packed_ = buffer_of(table.packed_row_bytes(copies.shape().cols) * static_cast<size_t>(num_rows));
  table.pack_rows(exec, {.x = floats(x_), .num_rows = num_rows, .cols = copies.shape().cols}, packed_.data());
}

void ColdMatmul::call(const MatmulTuning& tuning) {
  const MatrixShape& shape = copies_.shape();
  const MatmulInput input{.num_rows = num_rows_, .cols = shape.cols, .f32 = floats(x_), .packed = packed_.data()};
  const MatmulOutput output{.weights = {shape.format, shape.rows, shape.cols, copies_.next(), tuning},
                            .y = floats(y_),
                            .y_stride = shape.rows};
  table_.matmul(exec_, input, &output, 1);
}

}  // namespace quire
