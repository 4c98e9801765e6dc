// The inner loop of attention over quantised tiles: multiplies a few rows of 16-bit integers by groups of codes, sums
// the products exactly in integers and scales the sums to floats. math.h says how the files of this folder are used.
//
// A part is a group of kKvGroup dimensions of kKvBlockSize positions of a K tile, or kKvBlockSize positions of kKvGroup
// dimensions of a V tile: in both cases 32 terms for each of 32 columns. A product has up to kStripeTiles parts: the
// groups of K that share a scale, or the tiles of V. With |left| <= 32768 and |code| <= 128 the sum of their 128 terms
// stays below 2^30.
#pragma once

#include "isa/vec.h"
#include "isa/words.h"
#include "kernels/kernels.h"
#include "kernels/vector/attention_products.h"
#include "kernels/vector/kv_codes.h"

namespace quire {
namespace {

constexpr int kGroupPairs = kKvGroup / 2;  // pairs of terms
constexpr int kGroupColumns = 32;
static_assert(kKvGroup == 32 && kKvBlockSize == 32);

struct CodeProduct {
  const int32_t* left = nullptr;              // [rows, num_parts, kGroupPairs], rows kLeftStride apart
  const std::byte* group[kStripeTiles] = {};  // [num_parts] codes
  const std::byte* next[kStripeTiles] = {};   // [num_parts] codes of a later product, to be prefetched
  int num_parts = 0;
  const uint16_t* scales = nullptr;  // [kGroupColumns] K
  float* c = nullptr;                // [rows, kGroupColumns], rows c_stride apart
  int64_t c_stride = 0;
  const float* shrink = nullptr;  // [rows] V: c = c * shrink[r] + product * factor[r]
  const float* factor = nullptr;  // [rows]
  bool from_zero = false;         // K: c = product * scale of the column, added to c unless from_zero
};

// Reads codes of a group, 2 * kLanes at a time, as pairs of 16-bit integers: those of one pair of terms after another,
// from the first or the second half of the pairs on, for the columns from kColumn on.
template <int kHalf, int kColumn>
class Q8Codes {
 public:
  explicit Q8Codes(const std::byte* group) : at_(group + (kHalf * (kGroupPairs / 2) * kGroupColumns + kColumn) * 2) {}
  Words next_pair() {
    const Words pairs = widen_bytes(at_);
    at_ += kGroupColumns * 2;
    return pairs;
  }

 private:
  const std::byte* at_;
};
template <int kHalf, int kColumn>
class Q4KCodes {
 public:
  explicit Q4KCodes(const std::byte* group) : at_(group + kColumn * 2) {
    const Words bits = load_words(group + codes_bytes(Format::kQ4_0) + kColumn * 4);
    fifth_bits_ = kHalf == 0 ? shift_words_left<4>(bits) : shift_words_right<kGroupPairs / 2 - 4>(bits);
  }
  Words next_pair() {
    const Words pairs = widen_five_bits<kHalf>(at_, fifth_bits_);
    at_ += kGroupColumns * 2;
    fifth_bits_ = shift_words_right<1>(fifth_bits_);
    return pairs;
  }

 private:
  const std::byte* at_;
  Words fifth_bits_;  // that of the next pair is bit 4
};
template <int kHalf, int kColumn>
class Q4VCodes {
 public:
  explicit Q4VCodes(const std::byte* group)
      : at_(group + (kHalf * (kGroupPairs / 2) * kHalfGroup + kColumn % kHalfGroup) * 2) {}
  Words next_pair() {
    const Words pairs = widen_nibbles<kColumn / kHalfGroup>(at_);
    at_ += kHalfGroup * 2;
    return pairs;
  }

 private:
  const std::byte* at_;
};

// Prefetches 64 bytes for each pair while there are bytes.
template <template <int, int> typename Codes, int64_t kBytes, int kRows, int kHalf, int kColumn>
inline void add_half(const CodeProduct& t, int part, Words (&sums)[kRows][2]) {
  const int32_t* left = t.left + part * kGroupPairs + kHalf * (kGroupPairs / 2);
  const std::byte* next = t.next[part] + kHalf * (kGroupPairs / 2) * 64;
  constexpr int64_t kFetches = kColumn == 0 ? kBytes / 64 - kHalf * (kGroupPairs / 2) : 0;
  Codes<kHalf, kColumn> first(t.group[part]);
  Codes<kHalf, kColumn + kLanes> second(t.group[part]);
  for (int pair = 0; pair < kGroupPairs / 2; ++pair) {
    if (kFetches >= kGroupPairs / 2 || pair < kFetches) prefetch_far(next + pair * 64);
    const Words b0 = first.next_pair();
    const Words b1 = second.next_pair();
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const Words a = set1_word(left[r * kLeftStride + pair]);
      sums[r][0] = dot2(sums[r][0], b0, a);
      sums[r][1] = dot2(sums[r][1], b1, a);
    }
  }
}

// Two vectors of columns.
template <template <int, int> typename Codes, Format kFormat, bool kIsV, int kRows, int kColumn>
inline void code_strip(const CodeProduct& t) {
  constexpr int64_t kBytes = group_bytes(kFormat, kIsV);
  const int num_parts = kIsV || sharing_groups(kFormat) > 1 ? t.num_parts : 1;
  Words sums[kRows][2];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) sums[r][0] = sums[r][1] = zero_words();
  for (int part = 0; part < num_parts; ++part) {
    add_half<Codes, kBytes, kRows, 0, kColumn>(t, part, sums);
    add_half<Codes, kBytes, kRows, 1, kColumn>(t, part, sums);
  }
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
    return;
  }
  const Vec scale[2] = {load_f16(t.scales + kColumn), load_f16(t.scales + kColumn + kLanes)};
  if (t.from_zero) {
    for_each_sum([&scale](Vec product, const float*, int, int v) { return mul(product, scale[v]); });
  } else {
    for_each_sum([&scale](Vec product, const float* c, int, int v) { return fma(product, scale[v], load(c)); });
  }
}

template <template <int, int> typename Codes, Format kFormat, bool kIsV, int kRows = kRowTile>
void code_product_of(const CodeProduct& t, int rows) {
  if (rows == kRows) {
    code_strip<Codes, kFormat, kIsV, kRows, 0>(t);
    if constexpr (2 * kLanes < kGroupColumns) code_strip<Codes, kFormat, kIsV, kRows, 2 * kLanes>(t);
    return;
  }
  if constexpr (kRows > 1) code_product_of<Codes, kFormat, kIsV, kRows - 1>(t, rows);
}

// rows in [1, kRowTile]
void k_code_product(Format format, const CodeProduct& t, int rows) {
  return format == Format::kQ8_0 ? code_product_of<Q8Codes, Format::kQ8_0, false>(t, rows)
                                 : code_product_of<Q4KCodes, Format::kQ4_0, false>(t, rows);
}
void v_code_product(Format format, const CodeProduct& t, int rows) {
  return format == Format::kQ8_0 ? code_product_of<Q8Codes, Format::kQ8_0, true>(t, rows)
                                 : code_product_of<Q4VCodes, Format::kQ4_0, true>(t, rows);
}

}  // namespace
}  // namespace quire
