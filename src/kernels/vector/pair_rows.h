// Rows of K and V as pairs of bf16, two neighbouring rows in each word: for products on vectors (pair_product.h) and on
// tiles (kernels/tiles/attention.cpp). math.h says how the files of this folder are used.
#pragma once

#include "isa/bf16.h"
#include "isa/bytes.h"
#include "isa/vec.h"
#include "isa/words.h"
#include "kernels/kernels.h"
#include "kernels/vector/attention_products.h"
#include "kernels/vector/kv_sources.h"

namespace quire {
namespace {

constexpr int kPairVectors = 2;  // vectors of pairs that are made at a time, from two rows
constexpr int kPairColumns = kPairVectors * kLanes;

// Loads the pairs of kPairColumns columns of two rows.
template <typename Source>
inline void load_pairs(Source, const typename Source::Element* even, const typename Source::Element* odd,
                       Bytes (&pairs)[kPairVectors]) {
  for (int v = 0; v < kPairVectors; ++v) {
    pairs[v] = bf16_pairs(Source::load_lanes(even + v * kLanes), Source::load_lanes(odd + v * kLanes));
  }
}
inline void load_pairs(BF16Source, const uint16_t* even, const uint16_t* odd, Bytes (&pairs)[kPairVectors]) {
  interleave(even, odd, pairs[0], pairs[1]);
}

// The partner of a last row without one: its slot may hold anything.
template <typename Element>
constexpr Element kZeros[kPairColumns] = {};

// The pairs of two rows; a missing odd row (null) counts as zeros. `columns` is a multiple of 8; columns after them, up
// to a multiple of kPairColumns, become zeros.
template <typename Source>
inline void rows_to_pairs(const typename Source::Element* even, const typename Source::Element* odd, int64_t columns,
                          int32_t* to) {
  using Element = typename Source::Element;
  Bytes pairs[kPairVectors];
  for (int64_t i = 0; i < columns; i += kPairColumns) {
    if (i + kPairColumns <= columns) {
      load_pairs(Source{}, even + i, odd == nullptr ? kZeros<Element> : odd + i, pairs);
    } else {
      Element tails[2][kPairColumns] = {};
      const size_t bytes = static_cast<size_t>(columns - i) * sizeof(Element);
      __builtin_memcpy(tails[0], even + i, bytes);
      if (odd != nullptr) __builtin_memcpy(tails[1], odd + i, bytes);
      load_pairs(Source{}, tails[0], tails[1], pairs);
    }
    for (int v = 0; v < kPairVectors; ++v) store_bytes(to + i + v * kLanes, pairs[v]);
  }
}

// Fills whole blocks of kKvBlockSize rows, with zeros where there are no rows.
void widen_to_pairs(const TileRows& tile, void* to, int64_t stride) {
  with_source(tile.format, [&tile, to, stride](auto source) {
    using Source = decltype(source);
    using Element = typename Source::Element;
    const auto* const elements = reinterpret_cast<const Element*>(tile.from);
    const int64_t pair_bytes = 2 * tile.columns * static_cast<int64_t>(sizeof(Element));
    auto* words = static_cast<int32_t*>(to);
    int64_t row = 0;
    for (; row < tile.rows; row += 2, words += stride) {
      for (int64_t byte = 0; byte < pair_bytes; byte += 64) prefetch_far(tile.next + row / 2 * pair_bytes + byte);
      const Element* const even = elements + row * tile.columns;
      rows_to_pairs<Source>(even, row + 1 < tile.rows ? even + tile.columns : nullptr, tile.columns, words);
    }
    const int64_t width = (tile.columns + kPairColumns - 1) / kPairColumns * kPairColumns;
    for (; row % kKvBlockSize != 0; row += 2, words += stride) {
      for (int64_t i = 0; i < width; i += kLanes) store_bytes(words + i, set1_byte(0));
    }
  });
}

void narrow_to_bf16(const float* from, int64_t count, void* to) {
  auto* const halves = static_cast<uint16_t*>(to);
  for (int64_t i = 0; i < count; i += kLanes) store_bf16(halves + i, load(from + i));
}

}  // namespace
}  // namespace quire
