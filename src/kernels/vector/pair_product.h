// The inner loop of attention over pairs of bf16: two products per lane. What it multiplies is rounded to bf16: scaled
// queries and softmax weights on the left, K and V on the right (exact when they are BF16). math.h says how the files
// of this folder are used.
//
// A pair is two neighbouring terms of a sum: two dimensions of K, two positions of V. An element of the result is a
// chain over the pairs in ascending order; it does not depend on the number of rows or columns that are computed beside
// it, nor on where the right side was rounded.
#pragma once

#include "isa/bf16.h"
#include "isa/bytes.h"
#include "isa/vec.h"
#include "kernels/kernels.h"
#include "kernels/vector/attention_products.h"
#include "kernels/vector/kv_sources.h"
#include "kernels/vector/pair_rows.h"

namespace quire {
namespace {

// Tiles as they lie in the cache.
template <typename Source>
struct PairsInPlace {
  using Element = typename Source::Element;
  static constexpr bool kFetchAhead = true;
  static constexpr int kRowsPerPair = 2;
  static void load(const Element* even, int64_t stride, bool is_whole, Bytes (&pairs)[kPairVectors]) {
    load_pairs(Source{}, even, is_whole ? even + stride : kZeros<Element>, pairs);
  }
};
// Pairs that widen_to_pairs made.
struct WidenedPairs {
  using Element = int32_t;
  static constexpr bool kFetchAhead = false;
  static constexpr int kRowsPerPair = 1;
  static void load(const Element* words, int64_t, bool, Bytes (&pairs)[kPairVectors]) {
    for (int v = 0; v < kPairVectors; ++v) pairs[v] = load_bytes(words + v * kLanes);
  }
};

// Adds the products of one pair of each left row.
template <int kStep, int kRows, int kGroups>
inline void add_pairs(const int32_t* left, const Bytes (&right)[kGroups][kPairVectors],
                      Vec (&sums)[kRows][kGroups * kPairVectors]) {
  if constexpr (kStep < kBf16Steps) {
    Bytes terms[kGroups * kPairVectors];
#pragma GCC unroll 16
    for (int v = 0; v < kGroups * kPairVectors; ++v) {
      terms[v] = bf16_term<kStep>(right[v / kPairVectors][v % kPairVectors]);
    }
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const Bytes term = bf16_term<kStep>(load_word(left + r * kLeftStride));
#pragma GCC unroll 16
      for (int v = 0; v < kGroups * kPairVectors; ++v) sums[r][v] = add_bf16_terms(sums[r][v], terms[v], term);
    }
    add_pairs<kStep + 1>(left, right, sums);
  }
}

template <typename Source, int kRows, int kGroups>
inline void pair_strip(const TileProduct& t, int column) {
  constexpr int kVectors = kGroups * kPairVectors;
  using Element = typename Source::Element;
  Vec sums[kRows][kVectors];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) {
      const float* c = t.c + r * t.c_stride + column + v * kLanes;
      sums[r][v] = t.shrink == nullptr ? set1(0) : mul(load(c), set1(t.shrink[r]));
    }
  }
  const auto* left = static_cast<const int32_t*>(t.left);
  for (int part = 0, rest = t.depth; rest > 0; ++part, rest -= t.part_depth) {
    const auto* right = static_cast<const Element*>(t.right[part]) + column;
    const auto* next = Source::kFetchAhead ? static_cast<const Element*>(t.next[part]) + column : right;
    const int depth = rest < t.part_depth ? rest : t.part_depth;
    for (int k = 0; k < depth; k += 2) {
      Bytes b[kGroups][kPairVectors];
#pragma GCC unroll 16
      for (int g = 0; g < kGroups; ++g) {
        Source::load(right + g * kPairColumns, t.right_stride, k + 1 < depth, b[g]);
        if (!Source::kFetchAhead) continue;
        for (int i = 0; i < kPairColumns; i += static_cast<int>(64 / sizeof(Element))) {
          if ((g * kPairColumns + i) * sizeof(Element) % 64 != 0) continue;
          prefetch_far(next + g * kPairColumns + i);
          prefetch_far(next + g * kPairColumns + i + t.right_stride);
        }
      }
      add_pairs<0>(left, b, sums);
      ++left;
      right += Source::kRowsPerPair * t.right_stride;
      next += Source::kRowsPerPair * t.right_stride;
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) store(t.c + r * t.c_stride + column + v * kLanes, sums[r][v]);
  }
}

// A strip is wide enough that the number of independent sums hides the latency of a product.
template <typename Source, int kRows>
void pair_rows(const TileProduct& t) {
  int column = 0;
  if constexpr (2 * kRows <= kRowTile) {
    for (; column + 2 * kPairColumns <= t.columns; column += 2 * kPairColumns) pair_strip<Source, kRows, 2>(t, column);
  }
  for (; column < t.columns; column += kPairColumns) pair_strip<Source, kRows, 1>(t, column);
}

// rows in [1, kRowTile]
template <typename Source, int kRows = kRowTile>
void pairs_from(const TileProduct& t, int rows) {
  if (rows == kRows) return pair_rows<Source, kRows>(t);
  if constexpr (kRows > 1) pairs_from<Source, kRows - 1>(t, rows);
}

void multiply_pairs(Format format, const TileProduct& t, int rows) {
  if (t.next[0] == nullptr) return pairs_from<WidenedPairs>(t, rows);
  with_source(format, [&t, rows](auto source) { pairs_from<PairsInPlace<decltype(source)>>(t, rows); });
}

}  // namespace
}  // namespace quire
