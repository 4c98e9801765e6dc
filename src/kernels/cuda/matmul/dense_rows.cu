#include "kernels/cuda/matmul/dense_rows.h"

#include "base/check.h"
#include "kernels/cuda/matmul/compact_rows.h"
#include "kernels/cuda/matmul/dense_matmul.h"

namespace quire {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / kWarpSize;
constexpr float kE4M3Max = 448.0f;

// One warp for each group of a row, with four columns per lane; block (row, groups).
__global__ void __launch_bounds__(kThreads) quantize_groups(const QuantizedRows rows) {
  const int64_t row = blockIdx.x;
  const int64_t group = static_cast<int64_t>(blockIdx.y) * kWarps + threadIdx.x / kWarpSize;
  if (group >= rows.cols / kDenseGroup) return;
  const int64_t column = group * kDenseGroup + 4 * (threadIdx.x % kWarpSize);
  uint2 packed = make_uint2(0, 0);
  if (row < rows.count) {
    packed = *reinterpret_cast<const uint2*>(rows.x + row * compact_row_bytes(rows.cols) + 2 * column);
  }
  float values[4];
  float most = 0.0f;
  bool finite = true;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const uint32_t pair = i < 2 ? packed.x : packed.y;
    values[i] = bf16_to_float(static_cast<uint16_t>(i % 2 == 0 ? pair : pair >> 16));
    most = fmaxf(most, fabsf(values[i]));
    finite = finite && values[i] * 0.0f == 0.0f;
  }
  if (!finite) most = INFINITY;
  most = warp_max(most);
  const bool has_codes = most >= kInt8SmallestMax && most < INFINITY;
  const float factor = has_codes ? kE4M3Max / most : 0.0f;
  uint32_t codes = 0;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (has_codes) codes |= static_cast<uint32_t>(float_to_e4m3(values[i] * factor)) << (8 * i);
  }
  *reinterpret_cast<uint32_t*>(rows.codes + row * rows.cols + column) = codes;
  if (threadIdx.x % kWarpSize == 0) {
    rows.scales[group * rows.padded + row] = most == INFINITY ? NAN : has_codes ? most / kE4M3Max : 0.0f;
  }
}

__global__ void __launch_bounds__(kThreads) finish(const FinishedRows rows) {
  const int64_t row = blockIdx.x;
  const int64_t o = static_cast<int64_t>(blockIdx.y) * kThreads + threadIdx.x;
  if (o >= rows.rows) return;
  float value = rows.from != nullptr ? rows.from[row * rows.rows + o] : 0.0f;
  if (rows.bias != nullptr) value = rows.from != nullptr ? value + rows.bias[o] : rows.bias[o];
  float* const y = rows.y + row * rows.y_stride + o;
  *y = rows.accumulate ? value + *y : value;
}

struct DenseEmbedding {
  const std::byte* matrix;
  int64_t rows;
  int64_t cols;
  EmbeddedTokens tokens;
  float scale;
  float* out;
};

template <Format kFormat>
__global__ void __launch_bounds__(kThreads) embed(const DenseEmbedding job) {
  const int64_t column = static_cast<int64_t>(blockIdx.y) * kThreads + threadIdx.x;
  if (column >= job.cols) return;
  const int32_t id = job.tokens.ids[blockIdx.x];
  const int64_t token = id >= 0 ? id : max(job.tokens.chosen[-1 - id], 0);
  float value;
  if constexpr (kFormat == Format::kBF16) {
    value = bf16_to_float(reinterpret_cast<const uint16_t*>(job.matrix)[token * dense_columns(job.cols) + column]);
  } else {
    const auto* const scales = reinterpret_cast<const float*>(job.matrix + job.rows * job.cols);
    value = scales[column / kDenseGroup * job.rows + token] *
            e4m3_to_float(reinterpret_cast<const uint8_t*>(job.matrix)[token * job.cols + column]);
  }
  job.out[blockIdx.x * job.cols + column] = job.scale * value;
}

dim3 grid_of(int64_t rows, int64_t columns, int64_t per_block) {
  return dim3(static_cast<unsigned>(rows), static_cast<unsigned>(ceil_div(columns, per_block)));
}

}  // namespace

void quantize_e4m3(const QuantizedRows& rows, Stream stream) {
  launch(quantize_groups, grid_of(rows.padded, rows.cols / kDenseGroup, kWarps), kThreads, 0, stream, rows);
}

void finish_rows(const FinishedRows& rows, Stream stream) {
  launch(finish, grid_of(rows.num_rows, rows.rows, kThreads), kThreads, 0, stream, rows);
}

void embed_dense_rows(const Exec& exec, const PackedMatrix& matrix, const EmbeddedTokens& tokens, int64_t num_rows,
                      float scale, float* out) {
  const DenseEmbedding job{matrix.data, matrix.rows, matrix.cols, tokens, scale, out};
  const dim3 grid = grid_of(num_rows, matrix.cols, kThreads);
  CHECK(matrix.format == Format::kBF16 || matrix.format == Format::kF8_G128);
  launch(matrix.format == Format::kBF16 ? embed<Format::kBF16> : embed<Format::kF8_G128>, grid, kThreads, 0,
         gpu_stream(exec), job);
}

}  // namespace quire
