// Widens columns of packed panels of any format to floats, or to pairs of bf16. math.h says how the files of this
// folder are used.
//
// A weight is scale * (code - zero) + min, rounded once, as the format's own function computes it: the products have at
// most 24 significant bits.
#pragma once

#include "isa/bytes.h"
#include "isa/vec.h"
#include "kernels/block_codes.h"
#include "kernels/vector/matmul_decode.h"
#include "kernels/vector/matmul_floats.h"
#include "kernels/vector/matmul_layout.h"

namespace quire {
namespace {

// Out::put(column, v, even, odd) takes vector v of the rows of two neighbouring columns, the first of them even.

template <int kWord, int kLast, typename Packed, typename Out>
[[gnu::always_inline]] inline void widen_words(Packed& packed, int v, int column, Vec scale, Vec offset, Out out) {
  if constexpr (kWord < kLast) {
    const Bytes codes = packed.template word<kWord>(0, v);
    const int at = column + 4 * kWord;
    out.put(at, v, fma(code_floats<0>(codes), scale, offset), fma(code_floats<1>(codes), scale, offset));
    out.put(at + 2, v, fma(code_floats<2>(codes), scale, offset), fma(code_floats<3>(codes), scale, offset));
    widen_words<kWord + 1, kLast>(packed, v, column, scale, offset, out);
  }
}

// Part kPart of the current group, which becomes columns from `column` on.
template <int kPart, typename Packed, typename Out>
[[gnu::always_inline]] inline void widen_part(Packed& packed, int v, int group, int column, Out out) {
  constexpr int kWords = kGroupWords / Packed::kParts;
  const Factors f = packed.factors(0, v, group * Packed::kParts + kPart);
  Vec offset = fma(set1(-static_cast<float>(code_zero(Packed::kScheme))), f.scale, f.min);
  if constexpr (Packed::kZeros) offset = sub(set1(0), mul(code_floats<0>(f.zero), f.scale));
  widen_words<kPart * kWords, (kPart + 1) * kWords>(packed, v, column, f.scale, offset, out);
}

// Columns [first, first + columns) of a panel: whole groups of one block of 256.
template <Format kFormat, typename Out>
void widen_codes(const std::byte* panel, int64_t first, int columns, Out out) {
  using Packed = PackedCodes<kFormat>;
  constexpr BlockLayout kLayout = Packed::kLayout;
  constexpr int64_t kBlockBytes = kLayout.header_bytes + kBlockGroups * kLayout.group_bytes;
  Packed packed(panel + first / kBlockColumns * kBlockBytes, 0);
  const auto first_group = static_cast<int>(first % kBlockColumns / kGroup);
  if (first_group == 0) packed.fetch_header(1);
  packed.skip_groups(first_group);
  for (int group = 0; group < columns / kGroup; ++group) {
    for (int v = 0; v < kPanelVectors; ++v) {
      widen_part<0>(packed, v, first_group + group, group * kGroup, out);
      if constexpr (Packed::kParts == 2) widen_part<1>(packed, v, first_group + group, group * kGroup, out);
    }
    packed.next_group();
  }
}

// The same of a format of floats. The column after an odd number of columns is zeros.
template <Format kFormat, typename Out>
void widen_floats(const std::byte* panel, int64_t first, int columns, Out out) {
  FloatColumns<kFormat> packed{panel, 0};
  packed.begin(static_cast<int>(first), 1);
  for (int column = 0; column < columns; column += 2) {
    Vec even[kPanelVectors];
    Vec odd[kPanelVectors] = {set1(0), set1(0)};
    packed.load_column(static_cast<int>(first) + column, 0, even);
    if (column + 1 < columns) packed.load_column(static_cast<int>(first) + column + 1, 0, odd);
    for (int v = 0; v < kPanelVectors; ++v) out.put(column, v, even[v], odd[v]);
  }
}

// Columns [first, first + columns) of a panel of `format`, `first` a multiple of kFloatColumns, `columns` at most that.
template <typename Out>
using Widen = void (*)(const std::byte* panel, int64_t first, int columns, Out out);

// The function for a format of codes; null for others. Searches kCodeFormats from row kIndex on.
template <typename Out, int kIndex = 0>
Widen<Out> widen_codes_of(Format format) {
  if constexpr (kIndex < kNumCodeFormats) {
    if (format == kCodeFormats[kIndex].format) return widen_codes<kCodeFormats[kIndex].format, Out>;
    return widen_codes_of<Out, kIndex + 1>(format);
  }
  return nullptr;
}

}  // namespace
}  // namespace quire
