// The inner loop of attention over quantised tiles: multiplies a few rows of 16-bit integers by groups of codes, sums
// the products exactly in integers and scales the sums to floats. math.h says how the files of this folder are used.
//
// A group is kKvScaleGroup dimensions of kKvBlockSize positions of a K tile, or kKvBlockSize positions of kKvScaleGroup
// dimensions of a V tile: in both cases 32 terms for each of 32 columns. With |left| <= 32768 and |code| <= 128 the sum
// of a stripe's 128 terms stays below 2^30.
#pragma once

#include "isa/vec.h"
#include "isa/words.h"
#include "kernels/kernels.h"
#include "kernels/vector/attention_products.h"
#include "kernels/vector/kv_codes.h"

namespace quire {
namespace {

constexpr int kGroupPairs = kKvScaleGroup / 2;  // pairs of terms
constexpr int kGroupColumns = 32;
static_assert(kKvScaleGroup == 32 && kKvBlockSize == 32);

struct CodeProduct {
  const int32_t* left = nullptr;              // [rows, num_parts, kGroupPairs], rows kLeftStride apart
  const std::byte* group[kStripeTiles] = {};  // [num_parts] codes and scales
  const std::byte* next[kStripeTiles] = {};   // groups of a later product, to be prefetched
  int num_parts = 1;                          // 1 for K
  float* c = nullptr;                         // [rows, kGroupColumns], rows c_stride apart
  int64_t c_stride = 0;
  const float* shrink = nullptr;  // [rows] V: c = c * shrink[r] + product * factor[r]
  const float* factor = nullptr;  // [rows]
  bool from_zero = false;         // K: c = product * scale of the column, added to c unless from_zero
};

// Loads 2 * kLanes codes, starting at a pair of terms and a column, as pairs of 16-bit integers. kHalf: the first or
// the second half of the pairs; `pair` counts within that half.
struct Q8Codes {
  static constexpr Format kFormat = Format::kQ8_0;
  template <int kHalf, int kColumn>
  static Words load_pairs(const std::byte* codes, int pair) {
    return widen_bytes(codes + ((kHalf * (kGroupPairs / 2) + pair) * kGroupColumns + kColumn) * 2);
  }
};
struct Q4KCodes {
  static constexpr Format kFormat = Format::kQ4_0;
  template <int kHalf, int kColumn>
  static Words load_pairs(const std::byte* codes, int pair) {
    return widen_nibbles<kHalf>(codes + (pair * kGroupColumns + kColumn) * 2);
  }
};
struct Q4VCodes {
  static constexpr Format kFormat = Format::kQ4_0;
  template <int kHalf, int kColumn>
  static Words load_pairs(const std::byte* codes, int pair) {
    constexpr int kHigh = kColumn / kHalfGroup;
    return widen_nibbles<kHigh>(codes + ((kHalf * (kGroupPairs / 2) + pair) * kHalfGroup + kColumn % kHalfGroup) * 2);
  }
};

template <typename Codes, int kRows, int kHalf, int kColumn>
inline void add_half(const CodeProduct& t, int part, Words (&sums)[kRows][2]) {
  const int32_t* left = t.left + part * kGroupPairs + kHalf * (kGroupPairs / 2);
  const std::byte* group = t.group[part];
  const std::byte* next = t.next[part] + kHalf * (kGroupPairs / 2) * 64;
  constexpr bool kFetch = kColumn == 0 && (kHalf + 1) * (kGroupPairs / 2) * 64 <= codes_bytes(Codes::kFormat);
  for (int pair = 0; pair < kGroupPairs / 2; ++pair) {
    if (kFetch) prefetch_far(next + pair * 64);
    const Words b0 = Codes::template load_pairs<kHalf, kColumn>(group, pair);
    const Words b1 = Codes::template load_pairs<kHalf, kColumn + kLanes>(group, pair);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const Words a = set1_word(left[r * kLeftStride + pair]);
      sums[r][0] = dot2(sums[r][0], b0, a);
      sums[r][1] = dot2(sums[r][1], b1, a);
    }
  }
}

// Two vectors of columns.
template <typename Codes, int kRows, bool kIsV, int kColumn>
inline void code_strip(const CodeProduct& t) {
  Words sums[kRows][2];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) sums[r][0] = sums[r][1] = zero_words();
  for (int part = 0; part < (kIsV ? t.num_parts : 1); ++part) {
    add_half<Codes, kRows, 0, kColumn>(t, part, sums);
    add_half<Codes, kRows, 1, kColumn>(t, part, sums);
    if (kColumn == 0) prefetch_far(t.next[part] + codes_bytes(Codes::kFormat));
  }
  const auto* scales = reinterpret_cast<const uint16_t*>(t.group[0] + codes_bytes(Codes::kFormat)) + kColumn;
  const Vec scale[2] = {load_f16(scales), load_f16(scales + kLanes)};
  const auto for_each_sum = [&t, &sums](auto finish) {
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
      for (int v = 0; v < 2; ++v) {
        float* c = t.c + r * t.c_stride + kColumn + v * kLanes;
        store(c, finish(to_floats(sums[r][v]), c, r, v));
      }
    }
  };
  if (kIsV) {
    for_each_sum([&t](Vec product, const float* c, int r, int) {
      return fma(product, set1(t.factor[r]), mul(load(c), set1(t.shrink[r])));
    });
  } else if (t.from_zero) {
    for_each_sum([&scale](Vec product, const float*, int, int v) { return mul(product, scale[v]); });
  } else {
    for_each_sum([&scale](Vec product, const float* c, int, int v) { return fma(product, scale[v], load(c)); });
  }
}

template <typename Codes, bool kIsV, int kRows = kRowTile>
void code_product_of(const CodeProduct& t, int rows) {
  if (rows == kRows) {
    code_strip<Codes, kRows, kIsV, 0>(t);
    if constexpr (2 * kLanes < kGroupColumns) code_strip<Codes, kRows, kIsV, 2 * kLanes>(t);
    return;
  }
  if constexpr (kRows > 1) code_product_of<Codes, kIsV, kRows - 1>(t, rows);
}

// rows in [1, kRowTile]
void k_code_product(Format format, const CodeProduct& t, int rows) {
  return format == Format::kQ8_0 ? code_product_of<Q8Codes, false>(t, rows) : code_product_of<Q4KCodes, false>(t, rows);
}
void v_code_product(Format format, const CodeProduct& t, int rows) {
  return format == Format::kQ8_0 ? code_product_of<Q8Codes, true>(t, rows) : code_product_of<Q4VCodes, true>(t, rows);
}

}  // namespace
}  // namespace quire
