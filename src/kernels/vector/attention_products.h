// The arithmetic of attention over tiles of floats: which products the walk of a job (attention_stripe.h) multiplies
// with. Each instruction set has float products (tile_product.h) and products of bf16 pairs (pair_product.h). Sources
// with other flags of the compiler may hand in theirs, so this header holds plain data only.
#pragma once

#include "kernels/kernels.h"

namespace quire {

// Floats between the left rows. It is a constant, so that the rows of a row tile are offsets from one address register;
// it is not a power of two, so that the rows fall into different cache sets. A row holds a query of kMaxHeadDim.
inline constexpr int kLeftStride = kMaxHeadDim + 16;

// The number of tiles of positions whose scores go through the softmax together.
inline constexpr int kStripeTiles = 4;

// c[r][n] = c[r][n] * shrink[r] + sum over k of left[r][k] * right[k][n]
struct TileProduct {
  const void* left = nullptr;            // [rows, depth] in the form of the products, rows kLeftStride floats apart
  const void* right[kStripeTiles] = {};  // [depth, columns] in parts of part_depth, rows right_stride elements apart
  const void* next[kStripeTiles] = {};   // the right side of a later product, to be prefetched; null when `right` is
                                         // what AttentionProducts::widen made
  int64_t right_stride = 0;
  int depth = 0;
  int part_depth = 0;  // even
  float* c = nullptr;  // [rows, columns], rows c_stride apart
  int64_t c_stride = 0;
  int columns = 0;                // of the columns up to a multiple of column_step, those of c may be written too
  const float* shrink = nullptr;  // [rows]; null: c starts from zero
};

// Rows of a tile in the format of the cache, [rows, columns] contiguous.
struct TileRows {
  Format format = Format::kF16;
  const std::byte* from = nullptr;
  const std::byte* next = nullptr;  // as many bytes of a later tile, to be prefetched
  int64_t rows = 0;
  int64_t columns = 0;
};

struct AttentionProducts {
  int row_tile;     // the most rows of one product; at most the lanes of a vector
  int column_step;  // tiles of V whose columns are no multiple of this must be widened
  bool keeps_f32;   // widening F32 changes nothing
  // Converts a left row of `count` floats, a multiple of 32, to the form that `multiply` reads; null: it reads floats.
  // `to` may be the row itself.
  void (*narrow)(const float* from, int64_t count, void* to);
  // Converts rows to what `multiply` reads, with `stride` words of four bytes between its rows.
  void (*widen)(const TileRows& tile, void* to, int64_t stride);
  // `format`: of the right side, unless that was widened.
  void (*multiply)(Format format, const TileProduct& product, int rows);
  // Calls body(context) with the processor in the state that the others need; null: any state.
  void (*within)(void (*body)(const void* context), const void* context) = nullptr;
};

}  // namespace quire
