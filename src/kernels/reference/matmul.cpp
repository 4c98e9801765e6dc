// Plain matmul: weights stay as they are in the file, and products are summed in double in ascending k. Also defines
// int8 rows: every vector table packs them with the same codes and scales.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/block_codes.h"
#include "kernels/reference/packed_rows.h"
#include "kernels/reference/reference.h"

namespace quire {
namespace {

constexpr int64_t kGroup = 32;        // elements of a row that share an activation scale
constexpr int64_t kChunk = 256;       // weights dequantised at a time: the longest block
constexpr int64_t kTokens = 64;       // tokens whose sums are kept at a time
constexpr int64_t kRowsPerTask = 16;  // of a weight matrix, per task of the thread pool
// A group with a smaller maximum counts as zeros: 127 / max must not overflow.
constexpr float kSmallestMax = 0x1p-100f;

template <typename F>
void parallel_for(const Exec& exec, int64_t num_tasks, const F& body) {
  const Exec::Body call = [](void* context, int64_t task, int) { (*static_cast<const F*>(context))(task); };
  exec.run(exec.pool, num_tasks, call, const_cast<F*>(&body));
}

size_t packed_bytes(Format format, int64_t rows, int64_t cols) {
  const WeightFormat& info = weight_format(format);
  return static_cast<size_t>(rows) * info.bytes_of(cols);
}

void pack(const Exec& exec, Format format, int64_t rows, int64_t cols, const std::byte* src, std::byte* dst) {
  const size_t row_bytes = weight_format(format).bytes_of(cols);
  const auto body = [=](int64_t row) {
    const size_t offset = static_cast<size_t>(row) * row_bytes;
    if (row_bytes != 0) std::memcpy(dst + offset, src + offset, row_bytes);
  };
  parallel_for(exec, rows, body);
}

// A group with an infinity or a NaN gets the scale NaN, so that every output that reads it becomes NaN.
float quantize_group(const float* x, std::byte* codes) {
  float max = 0;
  bool finite = true;
  for (int64_t i = 0; i < kGroup; ++i) {
    max = std::max(max, std::abs(x[i]));
    finite = finite && std::isfinite(x[i]);
  }
  const bool has_codes = finite && max >= kSmallestMax;
  const float inverse = has_codes ? 127.0f / max : 0.0f;
  for (int64_t i = 0; i < kGroup; ++i) {
    codes[i] = static_cast<std::byte>(has_codes ? std::lrint(x[i] * inverse) : 0);
  }
  if (!finite) return std::nanf("");
  return has_codes ? max / 127.0f : 0.0f;
}

// The order of the columns of a row; null: as they are.
const int32_t* columns_of(const RowsToPack& rows, int64_t row) {
  if (rows.num_experts == 0) return rows.columns;
  int expert = 0;
  while (rows.first[expert + 1] - rows.first[0] <= row) ++expert;
  return rows.expert_columns[expert];
}

template <Activations kKind>
void pack_rows(const Exec& exec, const RowsToPack& rows, std::byte* packed) {
  const auto body = [=, &rows](int64_t row) {
    const float* const x = rows.x + (rows.rows != nullptr ? rows.rows[row] : row) * rows.cols;
    const int32_t* const columns = columns_of(rows, row);
    std::byte* const to = packed + static_cast<size_t>(row) * ReferenceRows<kKind>::bytes(rows.cols);
    for (int64_t k = 0; k < rows.cols; k += kGroup) {
      const int64_t count = std::min(kGroup, rows.cols - k);
      float group[kGroup];
      for (int64_t i = 0; i < count; ++i) group[i] = x[columns != nullptr ? columns[k + i] : k + i];
      ReferenceRows<kKind>::put(group, count, rows.cols, k, to);
    }
  };
  parallel_for(exec, rows.num_rows, body);
}

// The rows of one call: how a column of a token is read, and what weights are rounded to.
struct FloatRows {
  const MatmulInput& input;

  double get(int64_t token, int64_t column) const {
    return static_cast<double>(input.f32[token * input.cols + column]);
  }
  static float round_weight(float weight) { return weight; }
};
template <Activations kKind>
struct PackedRowsOf {
  const MatmulInput& input;

  double get(int64_t token, int64_t column) const {
    using Rows = ReferenceRows<kKind>;
    return Rows::get(input.packed + static_cast<size_t>(token) * Rows::bytes(input.cols), input.cols, column);
  }
  static float round_weight(float weight) {
    return kKind == Activations::kBf16 ? bf16_to_f32(f32_to_bf16(weight)) : weight;
  }
};

// The product of one chunk of a token and a row of weights, in ascending order.
double product(const double* x, const float* weights, int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += x[i] * static_cast<double>(weights[i]);
  return sum;
}

// Rows [first_row, end_row) of the weights: at most kRowsPerTask, for which each column of a token is read once.
template <typename Rows>
void multiply_rows(const MatmulInput& input, const MatmulOutput& output, int64_t first_row, int64_t end_row) {
  const PackedMatrix& matrix = output.weights;
  const WeightFormat& info = weight_format(matrix.format);
  const int64_t num_rows = end_row - first_row;
  const Rows x{input};
  for (int64_t first_token = 0; first_token < input.num_rows; first_token += kTokens) {
    const int64_t num_tokens = std::min(kTokens, input.num_rows - first_token);
    double sums[kRowsPerTask][kTokens] = {};
    for (int64_t k = 0; k < matrix.cols; k += kChunk) {
      const int64_t count = std::min(kChunk, matrix.cols - k);
      float weights[kRowsPerTask][kChunk];
      for (int64_t row = 0; row < num_rows; ++row) {
        const std::byte* src = matrix.data + static_cast<size_t>(first_row + row) * info.bytes_of(matrix.cols);
        info.dequantize(src + info.bytes_of(k), weights[row], count);
        for (int64_t i = 0; i < count; ++i) weights[row][i] = Rows::round_weight(weights[row][i]);
      }
      for (int64_t t = 0; t < num_tokens; ++t) {
        double values[kChunk];
        for (int64_t i = 0; i < count; ++i) values[i] = x.get(first_token + t, k + i);
        for (int64_t row = 0; row < num_rows; ++row) sums[row][t] += product(values, weights[row], count);
      }
    }
    for (int64_t t = 0; t < num_tokens; ++t) {
      for (int64_t row = 0; row < num_rows; ++row) {
        float& y = output.y[(first_token + t) * output.y_stride + first_row + row];
        auto value = static_cast<float>(sums[row][t]);
        if (output.bias != nullptr) value += output.bias[first_row + row];
        y = output.accumulate ? value + y : value;
      }
    }
  }
}

template <typename Rows>
void matmul(const Exec& exec, const MatmulInput& input, const MatmulOutput* outputs, int num_outputs) {
  for (int i = 0; i < num_outputs; ++i) {
    const MatmulOutput& output = outputs[i];
    const MatmulInput& rows_in = output.input != nullptr ? *output.input : input;
    const int64_t rows = output.weights.rows;
    const auto body = [&](int64_t task) {
      const int64_t first = task * kRowsPerTask;
      multiply_rows<Rows>(rows_in, output, first, std::min(rows, first + kRowsPerTask));
    };
    parallel_for(exec, (rows + kRowsPerTask - 1) / kRowsPerTask, body);
  }
}

}  // namespace

// A packed row has cols int8 codes, then one float scale per group.
size_t reference_packed_row_bytes(int64_t cols) {
  const auto bytes = static_cast<size_t>(cols + cols / kGroup * static_cast<int64_t>(sizeof(float)));
  return (bytes + 63) / 64 * 64;
}

void quantize_q8_group(const float* x, int64_t cols, int64_t group, std::byte* q8_row) {
  const float scale = quantize_group(x, q8_row + group * kGroup);
  std::memcpy(q8_row + cols + group * static_cast<int64_t>(sizeof scale), &scale, sizeof scale);
}

void fill_matmul_reference(Kernels& table) {
  with_activations(table.activations, [&table]<Activations kKind>() {
    for (int i = 0; i < kNumFormats; ++i) {
      const auto format = static_cast<Format>(i);
      if (!weight_format(format).is_weight()) continue;
      const bool is_packed = is_multiplied_packed(format, kKind);
      table.formats[i] = {.input = is_packed ? RowForm::kPacked : RowForm::kFloats,
                          .packed_bytes = packed_bytes,
                          .pack = pack,
                          .matmul = is_packed ? matmul<PackedRowsOf<kKind>> : matmul<FloatRows>,
                          .matmul_experts = nullptr};
    }
    table.packed_row_bytes = ReferenceRows<kKind>::bytes;
    table.pack_rows = pack_rows<kKind>;
  });
  table.mixes_expert_formats = true;
  table.enough_expert_rows = 512;
  table.dense_bytes = [](Format, int64_t, int64_t) { return size_t{0}; };
  table.pack_dense = pack;
}

}  // namespace quire
