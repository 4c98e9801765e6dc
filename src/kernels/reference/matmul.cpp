// Matmul, plainly: weights stay as the file has them, every product is accumulated in double in ascending k. Also the
// definition of int8 rows, which every vector table packs to the same codes and scales.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/block_codes.h"
#include "kernels/reference/reference.h"

namespace quire {
namespace {

constexpr int64_t kGroup = 32;        // elements of a row that share an activation scale
constexpr int64_t kChunk = 256;       // weights dequantised at a time: the longest block
constexpr int64_t kTokens = 64;       // sums kept at a time
constexpr int64_t kRowsPerTile = 16;  // of a weight matrix, per tile of the thread pool
// Below this the group counts as zeros: 127 / max must not overflow.
constexpr float kSmallestMax = 0x1p-100f;

template <typename F>
void parallel_for(const Exec& exec, int64_t num_tiles, const F& body) {
  const Exec::Body call = [](void* context, int64_t tile, int) { (*static_cast<const F*>(context))(tile); };
  exec.run(exec.pool, num_tiles, call, const_cast<F*>(&body));
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

// A group with an infinity or a NaN gets the scale NaN, so that what it touches shows it.
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

void pack_rows(const Exec& exec, const RowsToPack& rows, std::byte* packed) {
  const auto body = [=, &rows](int64_t row) {
    const float* const x = rows.x + (rows.rows != nullptr ? rows.rows[row] : row) * rows.cols;
    const int32_t* const columns = columns_of(rows, row);
    std::byte* const to = packed + static_cast<size_t>(row) * reference_packed_row_bytes(rows.cols);
    for (int64_t k = 0; k < rows.cols; k += kGroup) {
      float group[kGroup];
      for (int64_t i = 0; i < kGroup; ++i) group[i] = x[columns != nullptr ? columns[k + i] : k + i];
      quantize_q8_group(group, rows.cols, k / kGroup, to);
    }
  };
  parallel_for(exec, rows.num_rows, body);
}

double dot_f32(const MatmulInput& input, int64_t token, int64_t first, int64_t count, const float* weights) {
  const float* x = input.f32 + token * input.cols + first;
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(weights[i]);
  return sum;
}

double dot_q8(const MatmulInput& input, int64_t token, int64_t first, int64_t count, const float* weights) {
  const std::byte* row = input.packed + static_cast<size_t>(token) * reference_packed_row_bytes(input.cols);
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) {
    float scale = 0;
    const int64_t group = (first + i) / kGroup;
    std::memcpy(&scale, row + input.cols + group * static_cast<int64_t>(sizeof scale), sizeof scale);
    const auto code = static_cast<int8_t>(row[first + i]);
    sum += static_cast<double>(code) * static_cast<double>(scale) * static_cast<double>(weights[i]);
  }
  return sum;
}

template <RowForm kForm>
void multiply_row(const MatmulInput& input, const MatmulOutput& output, int64_t row) {
  const PackedMatrix& matrix = output.weights;
  const WeightFormat& info = weight_format(matrix.format);
  const std::byte* src = matrix.data + static_cast<size_t>(row) * info.bytes_of(matrix.cols);
  constexpr auto dot = kForm == RowForm::kPacked ? dot_q8 : dot_f32;
  for (int64_t first_token = 0; first_token < input.num_rows; first_token += kTokens) {
    const int64_t num_tokens = std::min(kTokens, input.num_rows - first_token);
    double sums[kTokens] = {};
    for (int64_t k = 0; k < matrix.cols; k += kChunk) {
      const int64_t count = std::min(kChunk, matrix.cols - k);
      float weights[kChunk];
      info.dequantize(src + info.bytes_of(k), weights, count);
      for (int64_t t = 0; t < num_tokens; ++t) sums[t] += dot(input, first_token + t, k, count, weights);
    }
    for (int64_t t = 0; t < num_tokens; ++t) {
      float& y = output.y[(first_token + t) * output.y_stride + row];
      auto value = static_cast<float>(sums[t]);
      if (output.bias != nullptr) value += output.bias[row];
      y = output.accumulate ? value + y : value;
    }
  }
}

template <RowForm kForm>
void matmul(const Exec& exec, const MatmulInput& input, const MatmulOutput* outputs, int num_outputs) {
  for (int i = 0; i < num_outputs; ++i) {
    const MatmulOutput& output = outputs[i];
    const MatmulInput& rows_in = output.input != nullptr ? *output.input : input;
    const int64_t rows = output.weights.rows;
    const auto body = [&](int64_t tile) {
      const int64_t end = std::min(rows, (tile + 1) * kRowsPerTile);
      for (int64_t row = tile * kRowsPerTile; row < end; ++row) multiply_row<kForm>(rows_in, output, row);
    };
    parallel_for(exec, (rows + kRowsPerTile - 1) / kRowsPerTile, body);
  }
}

}  // namespace

// A row: cols int8 codes, then one float scale per group.
size_t reference_packed_row_bytes(int64_t cols) {
  const auto bytes = static_cast<size_t>(cols + cols / kGroup * static_cast<int64_t>(sizeof(float)));
  return (bytes + 63) / 64 * 64;
}

void quantize_q8_group(const float* x, int64_t cols, int64_t group, std::byte* q8_row) {
  const float scale = quantize_group(x, q8_row + group * kGroup);
  std::memcpy(q8_row + cols + group * static_cast<int64_t>(sizeof scale), &scale, sizeof scale);
}

void fill_matmul_reference(Kernels& table) {
  for (int i = 0; i < kNumFormats; ++i) {
    if (!weight_format(static_cast<Format>(i)).is_weight()) continue;
    table.formats[i] = {.input = RowForm::kFloats,
                        .packed_bytes = packed_bytes,
                        .pack = pack,
                        .matmul = matmul<RowForm::kFloats>,
                        .matmul_experts = nullptr};
  }
  for (const CodeFormat& row : kCodeFormats) {
    FormatKernels& kernels = table.formats[static_cast<size_t>(row.format)];
    kernels.input = RowForm::kPacked;
    kernels.matmul = matmul<RowForm::kPacked>;
  }
  table.packed_row_bytes = reference_packed_row_bytes;
  table.pack_rows = pack_rows;
  table.mixes_expert_formats = true;
  table.enough_expert_rows = 512;
  table.dense_bytes = [](Format, int64_t, int64_t) { return size_t{0}; };
  table.pack_dense = pack;
}

}  // namespace quire
