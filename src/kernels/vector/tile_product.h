// The inner loop of attention over floats: multiplies a few query rows by a K tile, and rows of softmax weights by a V
// tile. math.h says how the files of this folder are used.
//
// An element of the result is a chain of fused multiply-adds over the depth in ascending order. It does not depend on
// the number of rows or columns that are computed beside it.
#pragma once

#include "isa/vec.h"
#include "kernels/kernels.h"

namespace quire {
namespace {

// Floats between the left rows. It is a constant, so that the rows of a row tile are offsets from one address register;
// it is not a power of two, so that the rows fall into different cache sets. A row holds a query of kMaxHeadDim.
constexpr int kLeftStride = kMaxHeadDim + 16;

// The number of tiles of positions whose scores go through the softmax together.
constexpr int kStripeTiles = 4;

// c[r][n] = c[r][n] * shrink[r] + sum over k of left[r][k] * right[k][n]
struct TileProduct {
  const float* left = nullptr;           // [rows, depth], rows kLeftStride apart
  const void* right[kStripeTiles] = {};  // [depth, columns] in parts of part_depth, rows right_stride elements apart
  const void* next[kStripeTiles] = {};   // the right side of a later product, to be prefetched; or null
  int64_t right_stride = 0;
  int depth = 0;
  int part_depth = 0;
  float* c = nullptr;  // [rows, columns], rows c_stride apart
  int64_t c_stride = 0;
  int columns = 0;                // a multiple of kLanes
  const float* shrink = nullptr;  // [rows]; null: c starts from zero
};

// The formats of the right side. WidenedSource: tiles that were just converted to floats and lie in the first-level
// cache, so that prefetching is of no use.
struct WidenedSource {
  using Element = float;
  static constexpr bool kFetchAhead = false;
  static Vec load_lanes(const Element* p) { return load(p); }
};
struct F32Source {
  using Element = float;
  static constexpr bool kFetchAhead = true;
  static Vec load_lanes(const Element* p) { return load(p); }
};
struct F16Source {
  using Element = uint16_t;
  static constexpr bool kFetchAhead = true;
  static Vec load_lanes(const Element* p) { return load_f16(p); }
};
struct BF16Source {
  using Element = uint16_t;
  static constexpr bool kFetchAhead = true;
  static Vec load_lanes(const Element* p) { return load_bf16(p); }
};
struct E4M3Source {
  using Element = uint8_t;
  static constexpr bool kFetchAhead = true;
  static Vec load_lanes(const Element* p) { return load_e4m3(p); }
};

template <typename Source, int kRows, int kVectors>
inline void product_strip(const TileProduct& t, int column) {
  Vec sums[kRows][kVectors];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) {
      const float* c = t.c + r * t.c_stride + column + v * kLanes;
      sums[r][v] = t.shrink == nullptr ? set1(0) : mul(load(c), set1(t.shrink[r]));
    }
  }
  const float* left = t.left;
  for (int part = 0, left_depth = t.depth; left_depth > 0; ++part, left_depth -= t.part_depth) {
    const auto* right = static_cast<const typename Source::Element*>(t.right[part]) + column;
    const auto* next =
        Source::kFetchAhead ? static_cast<const typename Source::Element*>(t.next[part]) + column : right;
    const int depth = left_depth < t.part_depth ? left_depth : t.part_depth;
    for (int k = 0; k < depth; ++k) {
      Vec b[kVectors];
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) {
        b[v] = Source::load_lanes(right + v * kLanes);
        if (Source::kFetchAhead && v * kLanes * sizeof(*next) % 64 == 0) prefetch_far(next + v * kLanes);
      }
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) {
        const Vec a = set1(left[r * kLeftStride]);
#pragma GCC unroll 16
        for (int v = 0; v < kVectors; ++v) sums[r][v] = fma(a, b[v], sums[r][v]);
      }
      ++left;
      right += t.right_stride;
      next += t.right_stride;
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) store(t.c + r * t.c_stride + column + v * kLanes, sums[r][v]);
  }
}

// A strip is wide enough that the number of independent sums hides the latency of the multiply-add.
template <typename Source, int kRows>
void product_rows(const TileProduct& t) {
  constexpr int kVectors = 4 * kRows <= 2 * kRowTile ? 4 : 2;
  int column = 0;
  for (; column + kVectors * kLanes <= t.columns; column += kVectors * kLanes) {
    product_strip<Source, kRows, kVectors>(t, column);
  }
  if constexpr (kVectors > 2) {
    for (; column + 2 * kLanes <= t.columns; column += 2 * kLanes) product_strip<Source, kRows, 2>(t, column);
  }
  if (column < t.columns) product_strip<Source, kRows, 1>(t, column);
}

// rows in [1, kRowTile]
template <typename Source, int kRows = kRowTile>
void product_from(const TileProduct& t, int rows) {
  if (rows == kRows) return product_rows<Source, kRows>(t);
  if constexpr (kRows > 1) product_from<Source, kRows - 1>(t, rows);
}

// A product without `next` has widened floats on its right side.
void tile_product(Format right_format, const TileProduct& t, int rows) {
  if (t.next[0] == nullptr) return product_from<WidenedSource>(t, rows);
  switch (right_format) {
    case Format::kF16: return product_from<F16Source>(t, rows);
    case Format::kBF16: return product_from<BF16Source>(t, rows);
    case Format::kF8_E4M3: return product_from<E4M3Source>(t, rows);
    default: return product_from<F32Source>(t, rows);
  }
}

}  // namespace
}  // namespace quire
