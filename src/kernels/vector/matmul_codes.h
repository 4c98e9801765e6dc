// Multiplies panels of codes by int8 rows. math.h says how the files of this folder are used.
//
// Each element of the result is one chain of operations: for every group of 32 columns in ascending order, the exact
// integer sum times the scale of the weights, rounded once; then a fused multiply-add with the scale of the
// activations; and for formats with a minimum, another one of the minimum and the sum of the activations. The chain
// does not depend on the other tokens of the batch.
#pragma once

#include "isa/bytes.h"
#include "isa/vec.h"
#include "kernels/kernels.h"
#include "kernels/vector/fetch_ahead.h"
#include "kernels/vector/matmul_decode.h"
#include "kernels/vector/matmul_layout.h"
#include "kernels/vector/q8_rows.h"
#include "kernels/vector/token_tiles.h"

namespace quire {
namespace {

// The operands of one multiplication except the weights.
struct Q8Product {
  int groups;
  int zero;             // code_zero of the format
  const std::byte* q8;  // the first token's Q8Block
  size_t q8_stride;     // bytes between tokens
  float* sums;          // [panels][tokens, kPanelRows]
  int64_t sums_stride;  // floats between panels
  Ahead ahead;
};

// Precomputed values of the tokens of one multiplication: the start values of the integer sums, which include the
// correction for the zero of the codes, and the factors of the minimums.
template <typename Codes, int kTokens>
struct Q8Tokens {
  static constexpr int kPartsOfBlock = Codes::kParts * kBlockGroups;
  const Q8Block* block[kTokens];
  alignas(64) int32_t starts[kTokens][kPartsOfBlock];
  alignas(64) float min_sums[kTokens][kPartsOfBlock];
  alignas(64) uint32_t code_sums[kTokens][kPartsOfBlock];  // as 16 bits

  explicit Q8Tokens(const Q8Product& p) {
    for (int t = 0; t < kTokens; ++t) {
      block[t] = reinterpret_cast<const Q8Block*>(p.q8 + static_cast<size_t>(t) * p.q8_stride);
      const int32_t* sums_of = Codes::kParts == 2 ? block[t]->half_sum : block[t]->sum;
      for (int i = 0; i < kPartsOfBlock; ++i) starts[t][i] = kMagicBits - p.zero * sums_of[i];
      for (int i = 0; Codes::kMins && i < kPartsOfBlock; ++i) {
        min_sums[t][i] = block[t]->scale[i / Codes::kParts] * static_cast<float>(sums_of[i]);
      }
      for (int i = 0; Codes::kZeros && i < kPartsOfBlock; ++i) code_sums[t][i] = static_cast<uint16_t>(sums_of[i]);
    }
  }
};

// sums += products of words [kWord, kLast) of `group`.
template <int kWord, int kLast, typename Codes, int kTokens, int kVectors>
[[gnu::always_inline]] inline void add_words(Codes& codes, const Q8Tokens<Codes, kTokens>& x, int group,
                                             Bytes (&sums)[kTokens][kVectors]) {
  using Dot = Dots<Codes::kDotBits>;
  if constexpr (kWord < kLast) {
    Bytes w[kVectors][Dot::kStep];
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) {
      w[v][0] = codes.template word<kWord>(v / kPanelVectors, v % kPanelVectors);
      if constexpr (Dot::kStep == 2) w[v][1] = codes.template word<kWord + 1>(v / kPanelVectors, v % kPanelVectors);
    }
#pragma GCC unroll 16
    for (int t = 0; t < kTokens; ++t) {
      const int8_t* at = x.block[t]->codes + group * kGroup + 4 * kWord;
      Bytes a[Dot::kStep];
      for (int i = 0; i < Dot::kStep; ++i) a[i] = load_word(at + 4 * i);
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) sums[t][v] = Dot::add(sums[t][v], w[v], a);
    }
    add_words<kWord + Dot::kStep, kLast>(codes, x, group, sums);
  }
}

// totals += products of part kPart of `group`.
template <int kPart, typename Codes, int kTokens, int kVectors>
[[gnu::always_inline]] inline void add_part(Codes& codes, const Q8Tokens<Codes, kTokens>& x, int group,
                                            Vec (&totals)[kTokens][kVectors]) {
  using Dot = Dots<Codes::kDotBits>;
  constexpr int kWords = kGroupWords / Codes::kParts;
  const int part = group * Codes::kParts + kPart;
  Bytes sums[kTokens][kVectors];
#pragma GCC unroll 16
  for (int t = 0; t < kTokens; ++t) {
    const Bytes start = load_word(&x.starts[t][part]);
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) sums[t][v] = Dot::begin(start);
  }
  add_words<kPart * kWords, (kPart + 1) * kWords>(codes, x, group, sums);
#pragma GCC unroll 16
  for (int v = 0; v < kVectors; ++v) {
    const Factors f = codes.factors(v / kPanelVectors, v % kPanelVectors, part);
#pragma GCC unroll 16
    for (int t = 0; t < kTokens; ++t) {
      Bytes sum = Dot::end(sums[t][v], load_word(&x.starts[t][part]));
      if constexpr (Codes::kZeros) sum = subtract_products(sum, f.zero, load_word(&x.code_sums[t][part]));
      const Vec scaled = fma(as_floats(sum), f.scale, f.unmagic);
      totals[t][v] = fma(scaled, set1(x.block[t]->scale[group]), totals[t][v]);
      if constexpr (Codes::kMins) totals[t][v] = fma(f.min, set1(x.min_sums[t][part]), totals[t][v]);
    }
  }
}

// The results of some tokens and panels in registers, loaded from memory and stored again by keep().
template <int kTokens, int kVectors>
struct Totals {
  Vec at[kTokens][kVectors];

  template <typename F>
  [[gnu::always_inline]] static void for_each(const Q8Product& p, F body) {
#pragma GCC unroll 16
    for (int t = 0; t < kTokens; ++t) {
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) {
        body(t, v, p.sums + v / kPanelVectors * p.sums_stride + t * kPanelRows + v % kPanelVectors * kLanes);
      }
    }
  }
  [[gnu::always_inline]] explicit Totals(const Q8Product& p) {
    for_each(
        p, [this](int t, int v, const float* sum) __attribute__((always_inline)) { at[t][v] = load(sum); });
  }
  [[gnu::always_inline]] void keep(const Q8Product& p) const {
    for_each(
        p, [this](int t, int v, float* sum) __attribute__((always_inline)) { store(sum, at[t][v]); });
  }
};

// totals += products of up to 256 columns.
template <int kPanels, typename Codes, int kTokens, int kVectors>
[[gnu::always_inline]] inline void add_block(Codes& codes, const Q8Tokens<Codes, kTokens>& x, int groups,
                                             int64_t next_tokens, Ahead& ahead, Totals<kTokens, kVectors>& totals) {
  for (int group = 0; group < groups; ++group) {
    fetch<kPanels>(ahead);
#pragma GCC unroll 16
    for (int t = 0; t < kTokens; ++t) {  // one cache line of the columns or tokens that come next
      prefetch(reinterpret_cast<const std::byte*>(x.block[t]) + next_tokens + 64 * group);
    }
    add_part<0>(codes, x, group, totals.at);
    if constexpr (Codes::kParts == 2) add_part<1>(codes, x, group, totals.at);
    codes.next_group();
  }
}

// Multiplies one of several tiles of tokens by a block.
template <typename Codes, int kPanels, int kTokens>
void multiply_codes(Codes codes, const Q8Product& p) {
  const Q8Tokens<Codes, kTokens> x(p);
  Totals<kTokens, kPanels * kPanelVectors> totals(p);
  Ahead ahead = p.ahead;
  add_block<kPanels>(codes, x, p.groups, kTokens * static_cast<int64_t>(p.q8_stride), ahead, totals);
  totals.keep(p);
}

// Multiplies all tokens, in tiles of at least kFewest, by a block of `panels` panels.
template <int kFewest, typename Codes>
void multiply_tokens(const Codes& codes, int panels, int64_t num_tokens, Q8Product product, const AheadShares& ahead) {
  const std::byte* const q8 = product.q8;
  float* const sums = product.sums;
  for_token_tiles(kQ8Tile, num_tokens, [&](int64_t token, int tokens, int64_t index) {
    product.q8 = q8 + static_cast<size_t>(token) * product.q8_stride;
    product.sums = sums + token * kPanelRows;
    product.ahead = ahead.of_tile(index);
    with_tile<kQ8Tile, kFewest>(
        panels, tokens, [&]<int kPanels, int kTokens>() { multiply_codes<Codes, kPanels, kTokens>(codes, product); });
  });
}

constexpr int64_t bytes_of_groups(BlockLayout layout, int groups) {
  return groups * (layout.group_bytes + layout.header_bytes / kBlockGroups);
}

// Multiplies several tiles of tokens by 256 columns of `panels` panels; see MultiplyPanels.
template <typename Packed>
void multiply_block(const std::byte* packed, int64_t stride, int panels, int64_t num_tokens, int packed_tokens,
                    int64_t fetch_ahead, const Q8Product& product) {
  const AheadShares ahead(packed + fetch_ahead, stride, bytes_of_groups(Packed::kLayout, product.groups),
                          divide_up(num_tokens, kQ8Tile.tokens), product.groups);
  static_assert(panels_together(kQ8Tile, kQ8Tile.tokens) == 1, "several tiles of tokens decode one panel at a time");
  constexpr int kFewestOfTile = fewest_of_tile(kQ8Tile, kQ8Tile.tokens + 1);
  if (num_tokens <= packed_tokens) {
    return multiply_tokens<kFewestOfTile>(Packed(packed, stride), panels, num_tokens, product, ahead);
  }
  DecodedPanel decoded;
  const std::byte* codes = decode_panel<Packed>(packed, product.groups, decoded);
  multiply_tokens<kFewestOfTile>(
      DecodedCodes<Packed::kDotBits, Packed::kParts, Packed::kMins, Packed::kZeros>{&decoded, codes}, panels,
      num_tokens, product, ahead);
}

// Multiplies one tile of tokens by all columns of kPanels panels: the results stay in registers throughout.
template <typename Packed, int kPanels, int kTokens>
void multiply_few(const std::byte* panel, int64_t stride, int64_t cols, int64_t fetch_ahead, Q8Product p) {
  Totals<kTokens, kPanels * kPanelVectors> totals(p);
  Ahead ahead = fetch_from(panel + fetch_ahead, stride, fetch_ahead > 0 ? bytes_of_groups(Packed::kLayout, 1) : 0);
  const std::byte* const end = panel + stride;
  for (int64_t k = 0; k < cols; k += kBlockColumns) {
    const int groups = groups_from(k, cols);
    skip_panels<kPanels>(ahead, end);
    const Q8Tokens<Packed, kTokens> x(p);
    Packed codes(panel, stride);
    codes.fetch_header(kPanels);
    add_block<kPanels>(codes, x, groups, sizeof(Q8Block), ahead, totals);
    panel += Packed::kLayout.header_bytes + groups * Packed::kLayout.group_bytes;
    p.q8 += sizeof(Q8Block);
  }
  totals.keep(p);
}

// See MultiplyPanels (parts.h).
template <typename Packed>
void multiply_code_panels(const PackedMatrix& w, int64_t first, int count, const MatmulInput& x, int64_t first_token,
                          int64_t num_tokens, float* sums) {
  constexpr BlockLayout kLayout = Packed::kLayout;
  const int64_t stride = code_panel_bytes(kLayout, w.cols);
  const std::byte* const start = w.data + first * stride;
  Q8Product product;
  product.zero = code_zero(Packed::kScheme);
  product.q8_stride = q8_bytes(w.cols);
  product.q8 = x.packed + static_cast<size_t>(first_token) * product.q8_stride;
  product.sums_stride = num_tokens * kPanelRows;
  if (num_tokens <= kQ8Tile.tokens) {
    const int64_t distance = fetch_distance(w.tuning, num_tokens);
    for_panels(Packed::kTile, count, num_tokens, [&](int panel, int panels) {
      product.sums = sums + panel * product.sums_stride;
      with_tile<Packed::kTile, 1>(panels, static_cast<int>(num_tokens), [&]<int kPanels, int kTokens>() {
        multiply_few<Packed, kPanels, kTokens>(start + panel * stride, stride, w.cols, distance, product);
      });
    });
    return;
  }
  const std::byte* part = start;
  for (int64_t k = 0; k < w.cols; k += kBlockColumns) {
    product.groups = groups_from(k, w.cols);
    const int64_t ahead = ahead_of({part - start, bytes_of_groups(kLayout, product.groups), stride}, count, w.tuning);
    for_panels(Packed::kTile, count, num_tokens, [&](int panel, int panels) {
      product.sums = sums + panel * product.sums_stride;
      multiply_block<Packed>(part + panel * stride, stride, panels, num_tokens, w.tuning.packed_tokens, ahead, product);
    });
    part += kLayout.header_bytes + product.groups * kLayout.group_bytes;
    product.q8 += sizeof(Q8Block);
  }
}

// The function for a format of the family; null for other formats. Searches kCodeFormats from row kIndex on.
template <FormatFamily kFamily, int kIndex = 0>
auto code_panels(Format format) -> decltype(&multiply_code_panels<PackedCodes<kCodeFormats[0].format>>) {
  if constexpr (kIndex < kNumCodeFormats) {
    constexpr CodeFormat kRow = kCodeFormats[kIndex];
    if constexpr (family_of(kRow.scheme) == kFamily) {
      if (format == kRow.format) return multiply_code_panels<PackedCodes<kRow.format>>;
    }
    return code_panels<kFamily, kIndex + 1>(format);
  }
  return nullptr;
}

}  // namespace
}  // namespace quire
