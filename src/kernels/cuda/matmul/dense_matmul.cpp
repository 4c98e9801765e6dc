#include "kernels/cuda/matmul/dense_matmul.h"

#include <algorithm>
#include <cstring>
#include <span>

#include "base/check.h"
#include "kernels/cuda/device/staging.h"
#include "kernels/cuda/matmul/compact_rows.h"
#include "kernels/cuda/matmul/dense_rows.h"
#include "tensor/formats/blocks.h"

namespace quire {
namespace {

// The library multiplies a multiple of four rows of 8-bit floats. Up to this many rows are padded; with more rows, the
// last 1 to 3 are a separate product.
constexpr int64_t kRowsAtOnce = 4;
constexpr int64_t kMaxPaddedRows = 64;

int64_t round_to(int64_t n, int64_t multiple) { return ceil_div(n, multiple) * multiple; }

size_t f8_codes_bytes(int64_t rows, int64_t cols) { return static_cast<size_t>(rows) * static_cast<size_t>(cols); }
size_t f8_scales_bytes(int64_t rows, int64_t cols) { return f8_codes_bytes(rows, cols) / kDenseGroup * sizeof(float); }

size_t bf16_bytes(Format format, int64_t rows, int64_t cols) {
  if (format != Format::kBF16) return 0;
  return 2 * static_cast<size_t>(rows) * static_cast<size_t>(dense_columns(cols));
}

size_t bf16_and_f8_bytes(Format format, int64_t rows, int64_t cols) {
  if (format != Format::kF8_G128) return bf16_bytes(format, rows, cols);
  const int64_t most_rows = static_cast<int64_t>(DenseMatmul::kScratch.results_bytes / sizeof(float)) / kMaxPaddedRows;
  if (cols % kDenseGroup != 0 || rows % kRowsAtOnce != 0 || rows > most_rows) return 0;
  return f8_codes_bytes(rows, cols) + f8_scales_bytes(rows, cols);
}

// Calls write(unit, to) on the threads of exec for every unit of an upload.
template <typename Write>
void upload(const Exec& exec, std::byte* dst, size_t size_bytes, size_t unit_bytes, const Write& write) {
  gpu_staging(exec).upload(dst, size_bytes, unit_bytes, [&](size_t first, std::span<std::byte> piece) {
    const auto one = [&](int64_t index) {
      const size_t offset = static_cast<size_t>(index) * unit_bytes;
      write(static_cast<int64_t>((first + offset) / unit_bytes), piece.data() + offset);
    };
    const Exec::Body body = [](void* context, int64_t index, int) {
      (*static_cast<const decltype(one)*>(context))(index);
    };
    exec.run(exec.pool, static_cast<int64_t>(piece.size() / unit_bytes), body,
             const_cast<void*>(static_cast<const void*>(&one)));
  });
}

void pack_f8(const Exec& exec, int64_t rows, int64_t cols, const std::byte* src, std::byte* dst) {
  const int64_t groups = cols / kDenseGroup;
  const auto* const blocks = reinterpret_cast<const BlockF8*>(src);
  upload(exec, dst, f8_codes_bytes(rows, cols), static_cast<size_t>(cols), [&](int64_t row, std::byte* to) {
    for (int64_t i = 0; i < groups; ++i) std::memcpy(to + i * kDenseGroup, blocks[row * groups + i].q, kDenseGroup);
  });
  upload(exec, dst + f8_codes_bytes(rows, cols), f8_scales_bytes(rows, cols), static_cast<size_t>(rows) * sizeof(float),
         [&](int64_t group, std::byte* to) {
           for (int64_t row = 0; row < rows; ++row) {
             std::memcpy(to + static_cast<size_t>(row) * sizeof(float), &blocks[row * groups + group].d, sizeof(float));
           }
         });
}

void pack_dense(const Exec& exec, Format format, int64_t rows, int64_t cols, const std::byte* src, std::byte* dst) {
  MatmulLibrary& library = gpu_library(exec);
  if (format == Format::kF8_G128) {
    library.prepare(Format::kF8_E4M3, rows, cols);
    return pack_f8(exec, rows, cols, src, dst);
  }
  library.prepare(Format::kBF16, rows, dense_columns(cols));
  const size_t row_bytes = 2 * static_cast<size_t>(cols);
  const size_t unit_bytes = 2 * static_cast<size_t>(dense_columns(cols));
  upload(exec, dst, static_cast<size_t>(rows) * unit_bytes, unit_bytes, [&](int64_t row, std::byte* to) {
    std::memcpy(to, src + static_cast<size_t>(row) * row_bytes, row_bytes);
    std::memset(to + row_bytes, 0, unit_bytes - row_bytes);
  });
}

}  // namespace

void fill_dense_cuda(Kernels& table, bool multiplies_f8) {
  table.dense_bytes = multiplies_f8 ? bf16_and_f8_bytes : bf16_bytes;
  table.pack_dense = pack_dense;
  table.scratch_bytes = multiplies_f8 ? DenseMatmul::kScratch.total() : DenseScratch{}.total();
}

DenseMatmul::DenseMatmul(const Exec& exec, DenseScratch scratch) : exec_(exec), scratch_(scratch) {
  const auto address = reinterpret_cast<uintptr_t>(exec.scratch);
  constexpr uintptr_t kAlignment = MatmulLibrary::kWorkspaceAlignment;
  workspace_ = exec.scratch + (kAlignment - address % kAlignment) % kAlignment;
  codes_ = workspace_ + MatmulLibrary::kWorkspaceBytes;
  results_ = reinterpret_cast<float*>(codes_ + scratch.codes_bytes);
}

void DenseMatmul::multiply(const MatmulInput& input, const MatmulOutput& output) {
  if (input.num_rows == 0 || output.weights.rows == 0) return;
  output.weights.format == Format::kBF16 ? multiply_bf16(input, output) : multiply_f8(input, output);
}

// Prepares y for a product that is added to it: the old y, or y + bias.
void DenseMatmul::begin_with_bias(const MatmulOutput& output, float* y, int64_t num_rows) {
  finish_rows({.bias = output.bias,
               .y = y,
               .y_stride = output.y_stride,
               .rows = output.weights.rows,
               .num_rows = num_rows,
               .accumulate = output.accumulate},
              gpu_stream(exec_));
}

void DenseMatmul::multiply_bf16(const MatmulInput& input, const MatmulOutput& output) {
  if (output.bias != nullptr) begin_with_bias(output, output.y, input.num_rows);
  const LibraryProduct product{.format = Format::kBF16,
                               .rows = output.weights.rows,
                               .cols = dense_columns(input.cols),
                               .weights = output.weights.data,
                               .x = input.packed,
                               .x_stride = compact_row_bytes(input.cols) / 2,
                               .num_rows = input.num_rows,
                               .y = output.y,
                               .y_stride = output.y_stride,
                               .accumulate = output.accumulate || output.bias != nullptr};
  gpu_library(exec_).multiply(product, workspace_, gpu_stream(exec_));
}

DenseMatmul::Rows DenseMatmul::next_rows(const MatmulInput& input, int64_t first, bool in_place) const {
  const int64_t row_bytes = input.cols + input.cols / kDenseGroup * static_cast<int64_t>(sizeof(float));
  const int64_t room = static_cast<int64_t>(scratch_.codes_bytes) / row_bytes / kRowsAtOnce * kRowsAtOnce;
  const int64_t left = std::min(input.num_rows - first, room);
  if (in_place && (left % kRowsAtOnce == 0 || left > kMaxPaddedRows)) {
    return {.first = first, .count = left / kRowsAtOnce * kRowsAtOnce, .in_place = true};
  }
  return {.first = first, .count = std::min(left, kMaxPaddedRows)};
}

// The outputs of one call usually share their rows.
void DenseMatmul::quantize(const MatmulInput& input, const Rows& rows) {
  if (quantized_x_ == input.packed && quantized_.first == rows.first && quantized_.count == rows.count) return;
  quantized_x_ = input.packed;
  quantized_ = rows;
  const int64_t padded = round_to(rows.count, kRowsAtOnce);
  quantize_e4m3({.x = input.packed + rows.first * compact_row_bytes(input.cols),
                 .cols = input.cols,
                 .count = rows.count,
                 .padded = padded,
                 .codes = codes_,
                 .scales = reinterpret_cast<float*>(codes_ + padded * input.cols)},
                gpu_stream(exec_));
}

void DenseMatmul::multiply_f8(const MatmulInput& input, const MatmulOutput& output) {
  const bool in_fours = reinterpret_cast<uintptr_t>(output.y) % 16 == 0 && output.y_stride % kRowsAtOnce == 0;
  for (int64_t first = 0; first < input.num_rows;) {
    const Rows rows = next_rows(input, first, in_fours);
    first += rows.count;
    quantize(input, rows);
    float* const y = output.y + rows.first * output.y_stride;
    if (rows.in_place) {
      if (output.bias != nullptr) begin_with_bias(output, y, rows.count);
      multiply_codes(input, output.weights, rows,
                     {.y = y, .y_stride = output.y_stride, .accumulate = output.accumulate || output.bias != nullptr});
      continue;
    }
    multiply_codes(input, output.weights, rows, {.y = results_, .y_stride = output.weights.rows});
    finish_rows({.from = results_,
                 .bias = output.bias,
                 .y = y,
                 .y_stride = output.y_stride,
                 .rows = output.weights.rows,
                 .num_rows = rows.count,
                 .accumulate = output.accumulate},
                gpu_stream(exec_));
  }
}

void DenseMatmul::multiply_codes(const MatmulInput& input, const PackedMatrix& weights, const Rows& rows,
                                 LibraryProduct to) {
  const int64_t padded = round_to(rows.count, kRowsAtOnce);
  to.format = Format::kF8_E4M3;
  to.rows = weights.rows;
  to.cols = input.cols;
  to.weights = weights.data;
  to.weight_scales = reinterpret_cast<const float*>(weights.data + f8_codes_bytes(weights.rows, input.cols));
  to.x = codes_;
  to.x_scales = reinterpret_cast<const float*>(codes_ + padded * input.cols);
  to.x_stride = input.cols;
  to.num_rows = padded;
  gpu_library(exec_).multiply(to, workspace_, gpu_stream(exec_));
}

}  // namespace quire
