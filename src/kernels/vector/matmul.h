// The matmul entries of a vector table. See math.h for how files of this folder are used, docs/kernels.md for how the
// parts fit together.
#pragma once

#include "kernels/kernels.h"

namespace quire {
namespace {

constexpr int64_t kTokenBlock = 128;  // sums kept at a time: with a decoded panel they fill the first cache
// One tile of the thread pool. Few tokens: memory is what takes time, and a small tile shares a matrix evenly; its
// panels are gone through one by one, as they lie. Many tokens: panels are taken together, the same columns of all of
// them while the tokens' are in a near cache.
constexpr int64_t kFewTokens = 16;
constexpr int64_t kTilePanels = 2;
constexpr int64_t kWideTilePanels = 8;

inline int64_t tile_panels(int64_t num_tokens) { return num_tokens <= kFewTokens ? kTilePanels : kWideTilePanels; }

MultiplyPanels multiply_panels_for(Format format) {
  switch (format) {
    case Format::kF32: return multiply_float_panels<Format::kF32>;
    case Format::kF16: return multiply_float_panels<Format::kF16>;
    case Format::kBF16: return multiply_float_panels<Format::kBF16>;
    case Format::kQ8_0: return multiply_code_panels<Format::kQ8_0>;
    case Format::kQ4_0: return multiply_code_panels<Format::kQ4_0>;
    case Format::kQ4_1: return multiply_code_panels<Format::kQ4_1>;
    case Format::kQ5_0: return multiply_code_panels<Format::kQ5_0>;
    case Format::kQ5_1: return multiply_code_panels<Format::kQ5_1>;
    case Format::kQ2_K: return multiply_code_panels<Format::kQ2_K>;
    case Format::kQ3_K: return multiply_code_panels<Format::kQ3_K>;
    case Format::kQ4_K: return multiply_code_panels<Format::kQ4_K>;
    case Format::kQ5_K: return multiply_code_panels<Format::kQ5_K>;
    case Format::kQ6_K: return multiply_code_panels<Format::kQ6_K>;
    case Format::kIQ4_NL: return multiply_code_panels<Format::kIQ4_NL>;
    case Format::kIQ4_XS: return multiply_code_panels<Format::kIQ4_XS>;
    case Format::kMXFP4: return multiply_code_panels<Format::kMXFP4>;
    case Format::kI4_G32: return multiply_code_panels<Format::kI4_G32>;
    case Format::kI4_G128: return multiply_code_panels<Format::kI4_G128>;
    case Format::kI8_G128: return multiply_code_panels<Format::kI8_G128>;
    case Format::kF8_G128: return multiply_float_panels<Format::kF8_G128>;
    default: return nullptr;
  }
}

void store_rows(const MatmulOutput& out, int64_t row, int64_t first_token, int64_t num_tokens, const float* sums) {
  const int64_t rows = out.weights.rows;
  for (int v = 0; v < kPanelVectors; ++v) {
    const int64_t at = row + v * kLanes;
    if (at >= rows) return;
    const int lanes = rows - at < kLanes ? static_cast<int>(rows - at) : kLanes;
    for (int64_t t = 0; t < num_tokens; ++t) {
      float* y = out.y + (first_token + t) * out.y_stride + at;
      Vec sum = load(sums + t * kPanelRows + v * kLanes);
      if (out.bias != nullptr) sum = add(sum, load_some(out.bias + at, lanes));
      if (out.accumulate) sum = add(sum, load_some(y, lanes));
      store_some(y, sum, lanes);
    }
  }
}

void fetch_outputs(const MatmulOutput& out, int64_t row, int64_t first_token, int64_t num_tokens) {
  for (int64_t t = 0; t < num_tokens; ++t) {
    const float* y = out.y + (first_token + t) * out.y_stride + row;
    for (int v = 0; v < kPanelVectors; ++v) fetch_far(y + v * kLanes);
  }
}

// Panels [first, last) of one output, all tokens.
void multiply_tile(const MatmulInput& x, const MatmulOutput& out, int64_t first, int64_t last) {
  const PackedMatrix& w = out.weights;
  const MultiplyPanels multiply = multiply_panels_for(w.format);
  const int64_t together = x.num_rows <= kFewTokens ? 1 : kWideTilePanels;
  alignas(64) float sums[kWideTilePanels * kTokenBlock * kPanelRows];
  for (int64_t token = 0; token < x.num_rows; token += kTokenBlock) {
    const int64_t tokens = x.num_rows - token < kTokenBlock ? x.num_rows - token : kTokenBlock;
    for (int64_t panel = first; panel < last; panel += together) {
      const auto count = static_cast<int>(last - panel < together ? last - panel : together);
      for (int i = 0; i < count; ++i) fetch_outputs(out, (panel + i) * kPanelRows, token, tokens);
      __builtin_memset(sums, 0, static_cast<size_t>(count * tokens * kPanelRows) * sizeof(float));
      multiply(w, panel, count, x, token, tokens, sums);
      for (int i = 0; i < count; ++i) {
        store_rows(out, (panel + i) * kPanelRows, token, tokens, sums + i * tokens * kPanelRows);
      }
    }
  }
}

// One loop over the tiles of all outputs.
void matmul_outputs(const Exec& exec, const MatmulInput& x, const MatmulOutput* outputs, int num_outputs) {
  const int64_t tile_rows = tile_panels(x.num_rows) * kPanelRows;
  int64_t num_tiles = 0;
  for (int i = 0; i < num_outputs; ++i) num_tiles += divide_up(outputs[i].weights.rows, tile_rows);
  auto run_tile = [&](int64_t tile, int) {
    const MatmulOutput* out = outputs;
    for (int64_t tiles; tile >= (tiles = divide_up(out->weights.rows, tile_rows)); ++out) tile -= tiles;
    const int64_t end = (tile + 1) * tile_rows < out->weights.rows ? (tile + 1) * tile_rows : out->weights.rows;
    multiply_tile(x, *out, tile * tile_rows / kPanelRows, divide_up(end, kPanelRows));
  };
  if (x.num_rows > 0 && num_tiles > 0) run_tiles(exec, num_tiles, run_tile);
}

size_t packed_matrix_bytes(Format format, int64_t rows, int64_t cols) {
  return multiply_panels_for(format) == nullptr ? 0 : matrix_bytes(format, rows, cols);
}

bool format_takes_q8(Format format) { return is_code_format(format); }

void override_matmul(Kernels& table) {
  table.packed_bytes = packed_matrix_bytes;
  table.pack = pack_matrix;
  table.takes_q8 = format_takes_q8;
  table.q8_row_bytes = q8_bytes;
  table.quantize_q8 = quantize_rows;
  table.matmul = matmul_outputs;
}

}  // namespace
}  // namespace quire
