// Multiplies panels of floats by float rows. math.h says how the files of this folder are used.
//
// Each element of the result is one chain of fused multiply-adds over the columns in ascending order.
#pragma once

#include "isa/bytes.h"
#include "isa/vec.h"
#include "kernels/kernels.h"
#include "kernels/vector/fetch_ahead.h"
#include "kernels/vector/matmul_decode.h"
#include "kernels/vector/matmul_layout.h"
#include "kernels/vector/token_tiles.h"

namespace quire {
namespace {

constexpr int kFloatColumns = 64;  // multiplied at a time

// Reads the same columns of several panels, `stride` bytes apart, starting at a multiple of kFloatColumns.
template <Format kFormat>
struct FloatColumns {
  const std::byte* first;
  int64_t stride;

  // Called before the kFloatColumns columns that start with `column`.
  void begin(int, int) {}
  void load_column(int column, int panel, Vec* rows) const {
    for (int v = 0; v < kPanelVectors; ++v) {
      const std::byte* at = first + panel * stride + (column * kPanelRows + v * kLanes) * float_bytes(kFormat);
      const auto* halves = reinterpret_cast<const uint16_t*>(at);
      rows[v] = kFormat == Format::kF32   ? load(reinterpret_cast<const float*>(at))
                : kFormat == Format::kF16 ? load_f16(halves)
                                          : load_bf16(halves);
    }
  }
};
template <>
struct FloatColumns<Format::kF8_G128> {
  const std::byte* first;
  int64_t stride;
  Vec scales[kMaxPanels][kPanelVectors] = {};

  static_assert(kF8Columns % kFloatColumns == 0);
  void begin(int column, int panels) {
    for (int panel = 0; panel < panels; ++panel) {
      const auto* from = reinterpret_cast<const float*>(first + panel * stride + column / kF8Columns * kF8PartBytes);
      for (int v = 0; v < kPanelVectors; ++v) scales[panel][v] = f8_scale(from + v * kLanes);
    }
  }
  void load_column(int column, int panel, Vec* rows) const {
    const std::byte* part = first + panel * stride + column / kF8Columns * kF8PartBytes;
    load_f8(part + (4 + column % kF8Columns) * kPanelRows, scales[panel], rows);
  }
};

struct FloatProduct {
  int columns;
  const float* x;       // of the first token
  int64_t x_stride;     // floats between tokens
  float* sums;          // [panels][tokens, kPanelRows]
  int64_t sums_stride;  // floats between panels
  Ahead ahead;
  const std::byte* panel_end;  // of the first panel, for skip_panels
};

template <int kPanels, int kTokens, typename Weights>
void multiply_floats(Weights weights, const FloatProduct& p) {
  constexpr int kVectors = kPanels * kPanelVectors;
  const auto sums_at = [sums = p.sums, stride = p.sums_stride](int t, int v) {
    return sums + v / kPanelVectors * stride + t * kPanelRows + v % kPanelVectors * kLanes;
  };
  Vec sums[kTokens][kVectors];
#pragma GCC unroll 16
  for (int t = 0; t < kTokens; ++t) {
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) sums[t][v] = load(sums_at(t, v));
  }
  Ahead ahead = p.ahead;
  for (int first = 0; first < p.columns; first += kFloatColumns) {
    skip_panels<kPanels>(ahead, p.panel_end);
    weights.begin(first, kPanels);
    const int end = first + kFloatColumns < p.columns ? first + kFloatColumns : p.columns;
    for (int k = first; k < end; ++k) {
      fetch<kPanels>(ahead);
      Vec w[kVectors];
#pragma GCC unroll 16
      for (int panel = 0; panel < kPanels; ++panel) weights.load_column(k, panel, w + panel * kPanelVectors);
#pragma GCC unroll 16
      for (int t = 0; t < kTokens; ++t) {
        const Vec x = set1(p.x[t * p.x_stride + k]);
#pragma GCC unroll 16
        for (int v = 0; v < kVectors; ++v) sums[t][v] = fma(w[v], x, sums[t][v]);
      }
    }
  }
#pragma GCC unroll 16
  for (int t = 0; t < kTokens; ++t) {
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) store(sums_at(t, v), sums[t][v]);
  }
}

// Converts columns [first, first + columns) of the panel at `panel` to floats: at most kFloatColumns, starting at a
// multiple of it.
template <Format kFormat>
void widen_columns(const std::byte* panel, int64_t first, int columns, float* out) {
  FloatColumns<kFormat> packed{panel, 0};
  packed.begin(static_cast<int>(first), 1);
  for (int column = 0; column < columns; ++column) {
    Vec rows[kPanelVectors];
    packed.load_column(static_cast<int>(first) + column, 0, rows);
    for (int v = 0; v < kPanelVectors; ++v) store(out + (column * kPanelVectors + v) * kLanes, rows[v]);
  }
}

// See MultiplyPanels (parts.h).
template <Format kFormat>
void multiply_float_panels(const PackedMatrix& w, int64_t first, int count, const MatmulInput& x, int64_t first_token,
                           int64_t num_tokens, float* sums) {
  constexpr int kColumnBytes =
      kFormat == Format::kF8_G128 ? kF8PartBytes / kF8Columns : kPanelRows * float_bytes(kFormat);
  const int64_t stride = float_panel_bytes(kFormat, w.cols);
  const float* const x_rows = x.f32 + first_token * w.cols;
  FloatProduct product;
  product.x_stride = w.cols;
  product.sums_stride = num_tokens * kPanelRows;
  // Multiplies all tokens by the columns that start with k.
  const auto multiply = [&](const auto& weights, int64_t k, int panels, float* panel_sums, const AheadShares& ahead) {
    for_token_tiles(kFloatTile, num_tokens, [&](int64_t token, int tokens, int64_t index) {
      product.x = x_rows + token * w.cols + k;
      product.sums = panel_sums + token * kPanelRows;
      product.ahead = ahead.of_tile(index);
      with_tile<kFloatTile, 1>(
          panels, tokens, [&]<int kPanels, int kTokens>() { multiply_floats<kPanels, kTokens>(weights, product); });
    });
  };
  if (num_tokens <= kFloatTile.tokens) {  // results stay in registers from the first column to the last
    product.columns = static_cast<int>(w.cols);
    const int64_t distance = fetch_distance(w.tuning, num_tokens);
    const int64_t fetched = distance > 0 ? stride : 0;
    for_panels(kFloatTile, count, num_tokens, [&](int panel, int panels) {
      const std::byte* const at = w.data + (first + panel) * stride;
      product.panel_end = at + stride;
      multiply(FloatColumns<kFormat>{at, stride}, 0, panels, sums + panel * product.sums_stride,
               AheadShares(at + distance, stride, fetched, 1, product.columns));
    });
    return;
  }
  alignas(64) float widened[kMaxPanels][kFloatColumns * kPanelRows];
  const int64_t num_tiles = divide_up(num_tokens, kFloatTile.tokens);
  for (int64_t k = 0; k < w.cols; k += kFloatColumns) {
    product.columns = static_cast<int>(w.cols - k < kFloatColumns ? w.cols - k : kFloatColumns);
    for_panels(kFloatTile, count, num_tokens, [&](int panel, int panels) {
      const std::byte* const panel_at = w.data + (first + panel) * stride;
      const std::byte* const columns_at = panel_at + k * kColumnBytes;
      float* const panel_sums = sums + panel * product.sums_stride;
      const FetchedBlock block{k * kColumnBytes, product.columns * kColumnBytes, stride};
      const std::byte* const later = columns_at + ahead_of(block, count, w.tuning);
      const AheadShares ahead(later, stride, block.bytes, num_tiles, product.columns);
      product.panel_end = later + stride;  // not reached
      if constexpr (kFormat != Format::kF8_G128) {
        if (kFormat == Format::kF32 || num_tokens <= w.tuning.packed_tokens) {
          return multiply(FloatColumns<kFormat>{columns_at, stride}, k, panels, panel_sums, ahead);
        }
      }
      for (int i = 0; i < panels; ++i) widen_columns<kFormat>(panel_at + i * stride, k, product.columns, widened[i]);
      multiply(FloatColumns<Format::kF32>{reinterpret_cast<const std::byte*>(widened), sizeof widened[0]}, k, panels,
               panel_sums, ahead);
    });
  }
}

}  // namespace
}  // namespace quire
