// The inner loop of attention over floats: multiplies a few query rows by a K tile, and rows of softmax weights by a V
// tile. math.h says how the files of this folder are used.
//
// An element of the result is a chain of fused multiply-adds over the depth in ascending order. It does not depend on
// the number of rows or columns that are computed beside it.
#pragma once

#include "isa/vec.h"
#include "kernels/kernels.h"
#include "kernels/vector/attention_products.h"
#include "kernels/vector/kv_sources.h"

namespace quire {
namespace {

// Tiles that were just converted to floats and lie in the first-level cache, so that prefetching is of no use.
struct WidenedSource : F32Source {};

template <typename Source, int kRows, int kVectors>
inline void product_strip(const TileProduct& t, int column) {
  constexpr bool kFetchAhead = !__is_same(Source, WidenedSource);
  Vec sums[kRows][kVectors];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) {
      const float* c = t.c + r * t.c_stride + column + v * kLanes;
      sums[r][v] = t.shrink == nullptr ? set1(0) : mul(load(c), set1(t.shrink[r]));
    }
  }
  const float* left = static_cast<const float*>(t.left);
  for (int part = 0, left_depth = t.depth; left_depth > 0; ++part, left_depth -= t.part_depth) {
    const auto* right = static_cast<const typename Source::Element*>(t.right[part]) + column;
    const auto* next = kFetchAhead ? static_cast<const typename Source::Element*>(t.next[part]) + column : right;
    const int depth = left_depth < t.part_depth ? left_depth : t.part_depth;
    for (int k = 0; k < depth; ++k) {
      Vec b[kVectors];
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) {
        b[v] = Source::load_lanes(right + v * kLanes);
        if (kFetchAhead && v * kLanes * sizeof(*next) % 64 == 0) prefetch_far(next + v * kLanes);
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

void multiply_floats(Format format, const TileProduct& t, int rows) {
  if (t.next[0] == nullptr) return product_from<WidenedSource>(t, rows);
  with_source(format, [&t, rows](auto source) { product_from<decltype(source)>(t, rows); });
}

// `count` is a multiple of 8.
template <typename Source>
inline void row_to_floats(const typename Source::Element* from, int64_t count, float* to) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store(to + i, Source::load_lanes(from + i));
  if (i == count) return;
  typename Source::Element tail[kLanes] = {};
  __builtin_memcpy(tail, from + i, static_cast<size_t>(count - i) * sizeof(*from));
  store(to + i, Source::load_lanes(tail));
}

void widen_to_floats(const TileRows& tile, void* to, int64_t stride) {
  with_source(tile.format, [&tile, to, stride](auto source) {
    using Source = decltype(source);
    const auto* elements = reinterpret_cast<const typename Source::Element*>(tile.from);
    const int64_t row_bytes = tile.columns * static_cast<int64_t>(sizeof(typename Source::Element));
    for (int64_t row = 0; row < tile.rows; ++row) {
      for (int64_t byte = 0; byte < row_bytes; byte += 64) prefetch_far(tile.next + row * row_bytes + byte);
      row_to_floats<Source>(elements + row * tile.columns, tile.columns, static_cast<float*>(to) + row * stride);
    }
  });
}

constexpr AttentionProducts kFloatProducts = {.row_tile = kRowTile,
                                              .column_step = kLanes,
                                              .keeps_f32 = true,
                                              .narrow = nullptr,
                                              .widen = widen_to_floats,
                                              .multiply = multiply_floats};

}  // namespace
}  // namespace quire
