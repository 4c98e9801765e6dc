// Multiplies panels whose columns are widened a few at a time, into the first-level cache, for all tokens of a call:
// the loop that matmul_f32.cpp and matmul_bf16.cpp share. math.h says how the files of this folder are used.
#pragma once

#include "kernels/vector/fetch_ahead.h"
#include "kernels/vector/matmul_floats.h"
#include "kernels/vector/matmul_layout.h"
#include "kernels/vector/token_tiles.h"
#include "kernels/vector/widen.h"

namespace quire {
namespace {

// One tile of tokens times columns of some panels.
struct WidenedProduct {
  int columns;
  const std::byte* weights;  // [panels], as Kind widens them
  const std::byte* x;        // packed rows, at the first column
  int64_t x_stride;          // bytes between tokens
  float* sums;               // [panels][tokens, kPanelRows]
  int64_t sums_stride;       // floats between panels
  Ahead ahead;
};

// See MultiplyPanels (parts.h). Kind has
//   kBytes                                 of a packed value and of a widened weight
//   kColumns                               widened at a time, a multiple of kFloatColumns
//   row_bytes(cols)                        between packed rows
//   Out, widen_of(format)                  Out(to): a destination of kColumns columns
//   multiply<kPanels, kTokens>(product)    adds to the sums
template <typename Kind>
void multiply_widened_panels(const PackedMatrix& w, int64_t first, int count, const MatmulInput& x, int64_t first_token,
                             int64_t num_tokens, float* sums) {
  const auto widen = Kind::widen_of(w.format);
  const int64_t stride = panel_bytes(w.format, w.cols);
  const int64_t num_tiles = divide_up(num_tokens, kFloatTile.tokens);
  alignas(64) std::byte widened[kMaxPanels][Kind::kColumns * kPanelRows * Kind::kBytes];
  WidenedProduct product;
  product.weights = widened[0];
  product.x_stride = static_cast<int64_t>(Kind::row_bytes(w.cols));
  product.sums_stride = num_tokens * kPanelRows;
  const std::byte* const rows = x.packed + first_token * product.x_stride;
  for (int64_t k = 0; k < w.cols; k += Kind::kColumns) {
    product.columns = static_cast<int>(w.cols - k < Kind::kColumns ? w.cols - k : Kind::kColumns);
    // Nearly: headers are longer than the columns that they belong to.
    const FetchedBlock block{stride * k / w.cols, stride * product.columns / w.cols, stride};
    for_panels(kFloatTile, count, num_tokens, [&](int panel, int panels) {
      const std::byte* const panel_at = w.data + (first + panel) * stride;
      for (int i = 0; i < panels; ++i) {
        widen(panel_at + i * stride, k, product.columns, typename Kind::Out{widened[i]});
      }
      const AheadShares ahead(panel_at + block.at + ahead_of(block, count, w.tuning), stride, block.bytes, num_tiles,
                              product.columns);
      for_token_tiles(kFloatTile, num_tokens, [&](int64_t token, int tokens, int64_t index) {
        product.x = rows + token * product.x_stride + k * Kind::kBytes;
        product.sums = sums + panel * product.sums_stride + token * kPanelRows;
        product.ahead = ahead.of_tile(index);
        with_tile<kFloatTile, 1>(
            panels, tokens, [&]<int kPanels, int kTokens>() { Kind::template multiply<kPanels, kTokens>(product); });
      });
    });
  }
}

}  // namespace
}  // namespace quire
