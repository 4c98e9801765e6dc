#include "compress/calibration/input_sums.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "kernels/select.h"

namespace quire {
namespace {

constexpr int64_t kColsPerTask = 64;
// Columns of a block of products: blocks above the diagonal are left out.
constexpr int64_t kProductBlock = 192;
constexpr int64_t kRowMultiple = 32;

float* floats_of(AlignedBuffer& buffer, int64_t count) {
  const size_t bytes = static_cast<size_t>(count) * sizeof(float);
  if (buffer.size_bytes() < bytes) buffer = AlignedBuffer(bytes);
  return reinterpret_cast<float*>(buffer.data());
}

}  // namespace

SumWorkers::SumWorkers(const Kernels& kernels, ThreadPool& threads)
    : kernels_(kernels), threads_(threads), scratch_(kernels.scratch_bytes), exec_(make_exec(threads)) {
  CHECK(!kernels.takes_packed(Format::kF32));
  exec_.scratch = scratch_.data();
}

void SumWorkers::add_products(const float* x, int64_t num_rows, int64_t cols, float* products) {
  const int64_t padded = (num_rows + kRowMultiple - 1) / kRowMultiple * kRowMultiple;
  float* const columns = floats_of(columns_, cols * padded);
  threads_.parallel_for((cols + kColsPerTask - 1) / kColsPerTask, [&](int64_t task, int) {
    const int64_t end = std::min(cols, (task + 1) * kColsPerTask);
    for (int64_t col = task * kColsPerTask; col < end; ++col) {
      float* const to = columns + col * padded;
      for (int64_t row = 0; row < num_rows; ++row) to[row] = x[row * cols + col];
      std::fill(to + num_rows, to + padded, 0.0f);
    }
  });
  for (int64_t first = 0; first < cols; first += kProductBlock) {
    const int64_t width = std::min(kProductBlock, cols - first);
    const size_t bytes = kernels_.packed_bytes(Format::kF32, width, padded);
    if (packed_.size_bytes() < bytes) packed_ = AlignedBuffer(bytes);
    kernels_.pack(exec_, Format::kF32, width, padded, reinterpret_cast<const std::byte*>(columns + first * padded),
                  packed_.data());
    const MatmulOutput output{.weights = {.format = Format::kF32,
                                          .rows = width,
                                          .cols = padded,
                                          .data = packed_.data(),
                                          .tuning = kernels_.usual_tuning},
                              .y = products + first * cols + first,
                              .y_stride = cols,
                              .accumulate = true};
    kernels_.matmul(exec_, {.num_rows = cols - first, .cols = padded, .f32 = columns + first * padded}, &output, 1);
  }
}

InputSums::InputSums(int64_t cols, const StatisticsWanted& wanted, int64_t expected_rows)
    : statistics_{.cols = cols},
      squares_(static_cast<size_t>(cols)),
      sample_rows_(wanted.sample_rows),
      expected_rows_(expected_rows) {
  const auto size = static_cast<size_t>(cols);
  statistics_.largest.resize(size);
  if (wanted.products) statistics_.products.resize(size * size);
}

void InputSums::add(const float* x, int64_t num_rows, SumWorkers& workers) {
  const int64_t cols = statistics_.cols;
  workers.threads().parallel_for((cols + kColsPerTask - 1) / kColsPerTask, [&](int64_t task, int) {
    const int64_t first = task * kColsPerTask;
    const int64_t end = std::min(cols, first + kColsPerTask);
    for (int64_t row = 0; row < num_rows; ++row) {
      for (int64_t col = first; col < end; ++col) {
        const float value = x[row * cols + col];
        const auto i = static_cast<size_t>(col);
        squares_[i] += static_cast<double>(value) * static_cast<double>(value);
        statistics_.largest[i] = std::max(statistics_.largest[i], std::abs(value));
      }
    }
  });
  if (!statistics_.products.empty()) workers.add_products(x, num_rows, cols, statistics_.products.data());
  for (int64_t row = 0; row < num_rows; ++row) {
    const int64_t index = statistics_.num_rows + row;
    // Each of sample_rows equal parts of the text gives its first row.
    const bool is_sampled = index * sample_rows_ / expected_rows_ != (index - 1) * sample_rows_ / expected_rows_;
    if (sample_rows_ == 0 || (index > 0 && !is_sampled)) continue;
    statistics_.sample.insert(statistics_.sample.end(), x + row * cols, x + (row + 1) * cols);
  }
  statistics_.num_rows += num_rows;
}

InputStatistics InputSums::take() {
  statistics_.square_sums.assign(squares_.begin(), squares_.end());
  const auto cols = static_cast<size_t>(statistics_.cols);
  std::vector<float>& products = statistics_.products;
  for (size_t row = 0; row < cols && !products.empty(); ++row) {
    for (size_t col = row + 1; col < cols; ++col) products[row * cols + col] = products[col * cols + row];
  }
  return std::move(statistics_);
}

}  // namespace quire
