// Weights by bf16 rows on tiles (Activations::kBf16). An output is one chain over steps of 32 columns in ascending
// order: the tile product sums the even and the odd columns of a step, and adds both to the chain (isa/tiles.h).
//
// Columns of a panel are widened to pairs of bf16, [columns / 2][kPanelVectors][16], which lie as tiles of B want them:
// 16 pairs of 16 rows of weights are one tile, and the panel's two vectors are the two tiles of a step. Rows of 16
// tokens are a tile of A as they are packed. Sums stay in tiles from the first step to the last of what is widened; up
// to 32 tokens share a step's tiles of B. Every number of tokens takes this way, down to one.
#include "isa/bf16.h"
#include "isa/tiles.h"
#include "kernels/tiles/parts.h"
#include "kernels/vector/float_rows.h"
#include "kernels/vector/matmul_tasks.h"
#include "kernels/vector/widen_bf16.h"

namespace quire::QUIRE_TABLE {
namespace {

constexpr int kStepColumns = kMaxTileRowBytes / 2;  // of one product
constexpr int kWidenedColumns = 512;                // at a time: 32 KiB, in the first-level cache
constexpr int kColumnBytes = 2 * kPanelRows;        // of widened weights
constexpr int kPairBytes = 2 * kColumnBytes;
constexpr int kTokens = 2 * kMaxTileRows;  // that share tiles of B
static_assert(kLanes == kMaxTileRows && kPanelVectors == 2);
static_assert(kWidenedColumns % kFloatColumns == 0 && kFloatColumns % kStepColumns == 0);

// Tiles 0 to 3 are sums: two vectors of weights by the first tokens, then by the second ones. 4 and 5 are the tokens, 6
// and 7 the weights. `second` may be 0.
constexpr TileConfigBytes config_for(int first, int second) {
  const TileSize of_first = {first, kMaxTileRowBytes};
  const TileSize of_second = {second, second == 0 ? 0 : kMaxTileRowBytes};
  const TileSize whole = {kMaxTileRows, kMaxTileRowBytes};
  return tile_config({of_first, of_first, of_second, of_second, of_first, of_second, whole, whole});
}

// sums [tokens][kPanelRows] += the tokens of one or two tiles, x_stride bytes apart, times `steps` steps of weights.
template <bool kTwoTiles>
void multiply_steps(const std::byte* weights, int steps, const std::byte* x, int64_t x_stride, float* sums) {
  constexpr int64_t kSumBytes = kPanelRows * sizeof(float);
  float* const second = sums + kMaxTileRows * kPanelRows;
  tile_load<0>(sums, kSumBytes);
  tile_load<1>(sums + kLanes, kSumBytes);
  if constexpr (kTwoTiles) {
    tile_load<2>(second, kSumBytes);
    tile_load<3>(second + kLanes, kSumBytes);
  }
  for (int step = 0; step < steps; ++step) {
    tile_load<6>(weights, kPairBytes);
    tile_load<7>(weights + kVectorBytes, kPairBytes);
    tile_load<4>(x, x_stride);
    tile_dot_bf16<0, 4, 6>();
    tile_dot_bf16<1, 4, 7>();
    if constexpr (kTwoTiles) {
      tile_load<5>(x + kMaxTileRows * x_stride, x_stride);
      tile_dot_bf16<2, 5, 6>();
      tile_dot_bf16<3, 5, 7>();
    }
    weights += kStepColumns * kColumnBytes;
    x += kMaxTileRowBytes;
  }
  tile_store<0>(sums, kSumBytes);
  tile_store<1>(sums + kLanes, kSumBytes);
  if constexpr (kTwoTiles) {
    tile_store<2>(second, kSumBytes);
    tile_store<3>(second + kLanes, kSumBytes);
  }
}

void multiply_tokens(const std::byte* weights, int steps, const std::byte* x, int64_t x_stride, int64_t num_tokens,
                     float* sums) {
  static constexpr TileConfigBytes kWhole = config_for(kMaxTileRows, kMaxTileRows);
  const int64_t whole = num_tokens / kTokens * kTokens;
  if (whole > 0) {
    const TileConfig config(kWhole);
    for (int64_t token = 0; token < whole; token += kTokens) {
      multiply_steps<true>(weights, steps, x + token * x_stride, x_stride, sums + token * kPanelRows);
    }
  }
  const auto left = static_cast<int>(num_tokens - whole);
  if (left == 0) return;
  const int first = left < kMaxTileRows ? left : kMaxTileRows;
  const TileConfigBytes sizes = config_for(first, left - first);
  const TileConfig config(sizes);
  const auto multiply = left > first ? multiply_steps<true> : multiply_steps<false>;
  multiply(weights, steps, x + whole * x_stride, x_stride, sums + whole * kPanelRows);
}

// Widens columns [first, first + columns) of a panel; zeros up to a whole step follow. Returns the steps.
int widen_steps(Widen<Bf16Out> widen, const std::byte* panel, int64_t first, int columns, std::byte* out) {
  for (int at = 0; at < columns; at += kFloatColumns) {
    widen(panel, first + at, columns - at < kFloatColumns ? columns - at : kFloatColumns,
          Bf16Out{out + at * kColumnBytes});
  }
  const auto steps = static_cast<int>(divide_up(columns, kStepColumns));
  const int even = columns + columns % 2;
  __builtin_memset(out + even * kColumnBytes, 0, static_cast<size_t>(steps * kStepColumns - even) * kColumnBytes);
  return steps;
}

// See MultiplyPanels (vector/parts.h).
void multiply_panels(const PackedMatrix& w, int64_t first, int count, const MatmulInput& x, int64_t first_token,
                     int64_t num_tokens, float* sums) {
  const Widen<Bf16Out> widen = widen_to_bf16(w.format);
  const int64_t stride = panel_bytes(w.format, w.cols);
  const auto x_stride = static_cast<int64_t>(bf16_row_bytes(w.cols));
  const std::byte* const rows = x.packed + first_token * x_stride;
  alignas(64) std::byte widened[kWidenedColumns * kColumnBytes];
  for (int i = 0; i < count; ++i) {
    for (int64_t k = 0; k < w.cols; k += kWidenedColumns) {
      const auto columns = static_cast<int>(w.cols - k < kWidenedColumns ? w.cols - k : kWidenedColumns);
      const int steps = widen_steps(widen, w.data + (first + i) * stride, k, columns, widened);
      multiply_tokens(widened, steps, rows + k * 2, x_stride, num_tokens, sums + i * num_tokens * kPanelRows);
    }
  }
}

MultiplyPanels panels_of(Format) { return multiply_panels; }

}  // namespace

void override_bf16(Kernels& table) {
  for (FormatKernels& row : table.formats) {
    if (row.input == RowForm::kPacked) row.matmul = matmul_outputs<panels_of>;
  }
}

}  // namespace quire::QUIRE_TABLE
