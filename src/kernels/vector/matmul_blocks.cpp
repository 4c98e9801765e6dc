// Multiplies matrices of formats without a fast kernel, so that a format needs only a decoder to be usable. math.h says
// how the files of this folder are used.
//
// The rows of a panel keep their blocks as they are in a file; the blocks of 256 columns lie together, row after row.
// The format's own function decodes them, and they are multiplied in double, in the order of the reference: the product
// of two floats is exact, and each chunk of 256 columns is summed from zero and then added. So the result equals the
// reference's bit for bit.
#include "isa/vec.h"
#include "kernels/kernels.h"
#include "kernels/vector/loops.h"
#include "kernels/vector/matmul_layout.h"
#include "kernels/vector/parts.h"
#include "kernels/vector/task_parts.h"
#include "kernels/vector/transpose.h"

namespace quire::QUIRE_TABLE {
namespace {

constexpr int kChunk = 256;           // columns decoded at a time: the longest block
constexpr int kDoubles = kLanes / 2;  // doubles in a vector
constexpr int kPanelDoubles = 2 * kPanelVectors;
constexpr int kTokens = kLanes == 16 ? 4 : 2;  // multiplied together: sums, weights and x stay in registers

using Doubles = double __attribute__((vector_size(sizeof(double) * kDoubles)));
using HalfFloats = float __attribute__((vector_size(sizeof(float) * kDoubles)));

inline size_t bytes_of(const WeightFormat& format, int64_t elements) {
  return static_cast<size_t>(elements / format.block_elements) * static_cast<size_t>(format.block_bytes);
}

inline int64_t chunk_columns(int64_t first, int64_t cols) { return cols - first < kChunk ? cols - first : kChunk; }

// Stores the columns of four rows at four neighbouring places of each column.
inline void put_columns(const float (*rows)[kChunk], int64_t count, float* to) {
  int64_t k = 0;
  for (; k + 4 <= count; k += 4) {
    WordRow tile[4];
    for (int i = 0; i < 4; ++i) __builtin_memcpy(&tile[i], rows[i] + k, sizeof tile[i]);
    transpose(tile);
    for (int i = 0; i < 4; ++i) __builtin_memcpy(to + (k + i) * kPanelRows, &tile[i], sizeof tile[i]);
  }
  for (; k < count; ++k) {
    for (int i = 0; i < 4; ++i) to[k * kPanelRows + i] = rows[i][k];
  }
}

// Decodes `count` columns of the rows at `blocks` to floats [count][kPanelRows]. Rows from num_rows on have arbitrary
// values, which are never read.
void decode_panel(const WeightFormat& format, const std::byte* blocks, int num_rows, int64_t count, float* out) {
  const size_t row_bytes = bytes_of(format, count);
  float rows[4][kChunk];
  __builtin_memset(rows, 0, sizeof rows);
  for (int row = 0; row < num_rows; row += 4) {
    for (int i = 0; i < 4 && row + i < num_rows; ++i) {
      format.dequantize(blocks + static_cast<size_t>(row + i) * row_bytes, rows[i], count);
    }
    put_columns(rows, count, out + row);
  }
}

// sums [kCount][kPanelRows] += weights [columns][kPanelRows] * tokens of x, x_stride floats apart.
template <int kCount>
void multiply_chunk(const float* weights, int64_t columns, const float* x, int64_t x_stride, double* sums) {
  Doubles chunk[kCount][kPanelDoubles] = {};
  for (int64_t k = 0; k < columns; ++k) {
    Doubles w[kPanelDoubles];
#pragma GCC unroll 4
    for (int v = 0; v < kPanelDoubles; ++v) {
      HalfFloats floats;
      __builtin_memcpy(&floats, weights + k * kPanelRows + v * kDoubles, sizeof floats);
      w[v] = __builtin_convertvector(floats, Doubles);
    }
#pragma GCC unroll 4
    for (int t = 0; t < kCount; ++t) {
      const auto value = static_cast<double>(x[t * x_stride + k]);
#pragma GCC unroll 4
      for (int v = 0; v < kPanelDoubles; ++v) chunk[t][v] += w[v] * value;
    }
  }
#pragma GCC unroll 4
  for (int t = 0; t < kCount; ++t) {
#pragma GCC unroll 4
    for (int v = 0; v < kPanelDoubles; ++v) {
      double* const at = sums + t * kPanelRows + v * kDoubles;
      Doubles sum;
      __builtin_memcpy(&sum, at, sizeof sum);
      sum += chunk[t][v];
      __builtin_memcpy(at, &sum, sizeof sum);
    }
  }
}

void multiply_panel(const PackedMatrix& w, int64_t panel, const MatmulInput& x, int64_t first_token, int64_t num_tokens,
                    float* out) {
  const WeightFormat& format = weight_format(w.format);
  const int64_t rows_left = w.rows - panel * kPanelRows;
  const auto num_rows = static_cast<int>(rows_left < kPanelRows ? rows_left : kPanelRows);
  const std::byte* blocks = w.data + static_cast<size_t>(panel * kPanelRows) * bytes_of(format, w.cols);
  alignas(64) float weights[kChunk * kPanelRows];
  alignas(64) double sums[kTokenBlock * kPanelRows];
  __builtin_memset(sums, 0, static_cast<size_t>(num_tokens * kPanelRows) * sizeof *sums);
  for (int64_t k = 0; k < w.cols; k += kChunk) {
    const int64_t columns = chunk_columns(k, w.cols);
    decode_panel(format, blocks, num_rows, columns, weights);
    blocks += kPanelRows * bytes_of(format, columns);
    const float* const rows = x.f32 + first_token * w.cols + k;
    int64_t token = 0;
    for (; token + kTokens <= num_tokens; token += kTokens) {
      multiply_chunk<kTokens>(weights, columns, rows + token * w.cols, w.cols, sums + token * kPanelRows);
    }
    for (; token < num_tokens; ++token) {
      multiply_chunk<1>(weights, columns, rows + token * w.cols, w.cols, sums + token * kPanelRows);
    }
  }
  for (int64_t i = 0; i < num_tokens * kPanelRows; ++i) out[i] = static_cast<float>(sums[i]);
}

}  // namespace

size_t block_matrix_bytes(Format format, int64_t rows, int64_t cols) {
  return static_cast<size_t>(divide_up(rows, kPanelRows) * kPanelRows) * bytes_of(weight_format(format), cols);
}

void pack_block_matrix(const Exec& exec, Format format, int64_t rows, int64_t cols, const std::byte* src,
                       std::byte* dst) {
  const WeightFormat& info = weight_format(format);
  const size_t row_bytes = bytes_of(info, cols);
  for_each_panel(exec, divide_up(rows, kPanelRows), [=, &info](int64_t panel) {
    const int64_t left = rows - panel * kPanelRows;
    const int64_t num_rows = left < kPanelRows ? left : kPanelRows;
    const std::byte* const from = src + static_cast<size_t>(panel * kPanelRows) * row_bytes;
    std::byte* to = dst + static_cast<size_t>(panel * kPanelRows) * row_bytes;
    if (num_rows < kPanelRows) __builtin_memset(to, 0, kPanelRows * row_bytes);
    for (int64_t k = 0; k < cols; k += kChunk) {
      const size_t chunk_bytes = bytes_of(info, chunk_columns(k, cols));
      for (int64_t row = 0; row < num_rows; ++row) {
        const std::byte* const at = from + static_cast<size_t>(row) * row_bytes + bytes_of(info, k);
        __builtin_memcpy(to + static_cast<size_t>(row) * chunk_bytes, at, chunk_bytes);
      }
      to += kPanelRows * chunk_bytes;
    }
  });
}

void multiply_block_panels(const PackedMatrix& w, int64_t first, int count, const MatmulInput& x, int64_t first_token,
                           int64_t num_tokens, float* sums) {
  for (int i = 0; i < count; ++i) {
    multiply_panel(w, first + i, x, first_token, num_tokens, sums + i * num_tokens * kPanelRows);
  }
}

}  // namespace quire::QUIRE_TABLE
