// Decodes packed panels of any format to one byte per code and float factors: in registers (PackedCodes), or into a
// buffer in the first-level cache that many tokens read (DecodedCodes). math.h says how the files of this folder are
// used.
#pragma once

#include "isa/bytes.h"
#include "isa/vec.h"
#include "kernels/block_codes.h"
#include "kernels/vector/matmul_layout.h"
#include "kernels/vector/tile_shape.h"

namespace quire {
namespace {

// 1.5 * 2^23: floats near it are integers, and the bits of kMagic + n are the bits of kMagic plus n. So a sum of
// integer products that starts from these bits, read as a float, is kMagic + sum; no conversion is needed (|sum| <
// 2^22: at most 32 * 128 * 127).
constexpr float kMagic = 12582912.0f;
constexpr int32_t kMagicBits = 0x4b400000;

// The factors of one scale group (or half of one) for a vector of rows: sum * scale = (kMagic + sum) * scale + unmagic,
// with a single rounding, because `scale` has at most 18 significant bits.
struct Factors {
  Vec scale;
  Vec unmagic;
  Vec min;
  Bytes zero;  // the zero points of the rows: 16 bits in each word
};

constexpr int least_level(CodeScheme scheme) {
  int least = INT8_MAX;
  for (int i = 0; i < 16; ++i) least = scheme.levels[i] < least ? scheme.levels[i] : least;
  return least;
}
constexpr bool has_narrow_levels(CodeScheme scheme) {
  if (scheme.levels == nullptr) return false;
  for (int i = 0; i < 16; ++i) {
    if (scheme.levels[i] - least_level(scheme) >= 64) return false;
  }
  return true;
}
// Whether a code may be any byte.
constexpr bool has_wide_codes(CodeScheme scheme) {
  return scheme.low_bits == 8 || (scheme.levels != nullptr && !has_narrow_levels(scheme));
}
// The code that means zero: value = code - code_zero. Codes of eight bits use the zero that the instruction set needs.
constexpr int code_zero(CodeScheme scheme) {
  return has_wide_codes(scheme) ? kCodeZero : scheme.levels != nullptr ? -least_level(scheme) : scheme.zero;
}
constexpr int code_bits(CodeScheme scheme) {
  return has_wide_codes(scheme) ? 8 : scheme.levels != nullptr ? 6 : scheme.low_bits + scheme.high_bits;
}
// How many parts of a scale group have their own factors.
constexpr int num_parts(CodeScheme scheme) { return scheme.sub_scales == 2 * kBlockGroups ? 2 : 1; }

// The kBits of word kWord of a group, read from a plane of kBits for a vector of rows and moved to bit kAt of each
// byte.
template <int kBits, int kWord, int kAt>
inline Bytes plane_word(const std::byte* plane) {
  constexpr int kHeldAt = kWord / kBits * kBits;
  const Bytes held = load_bytes(plane + kWord % kBits * kWordBytes);
  if constexpr (kBits == 8) return held;
  return and_bytes(shift_left<kAt - kHeldAt>(held), set1_byte(((1 << kBits) - 1) << kAt));
}

inline Vec header_f16(const std::byte* at) { return load_f16(reinterpret_cast<const uint16_t*>(at)); }

// Reads the scales of the same 256 columns of several panels, `stride` bytes apart.
template <Format kFormat>
struct PanelScales {
  static constexpr CodeScheme kScheme = scheme_of(kFormat);
  static constexpr BlockLayout kLayout = block_layout(kScheme);
  static constexpr int kDotBits = dot_bits(code_bits(kScheme));
  static constexpr int kParts = num_parts(kScheme);
  static constexpr bool kMins = kScheme.has_min;
  static constexpr bool kZeros = kScheme.has_zeros;

  const std::byte* header;  // of the first panel
  int64_t stride;

  // Prefetches the whole header before the codes are read. The codes are then one stream that the hardware prefetcher
  // follows; returning to the header for every group would interrupt it.
  [[gnu::always_inline]] void fetch_header(int panels) const {
    for (int panel = 0; panel < panels; ++panel) {
#pragma GCC unroll 16
      for (int at = 0; at < kLayout.header_bytes; at += 64) prefetch(header + panel * stride + at);
    }
  }

  // The index of the scale (and zero point) of a part.
  static constexpr int scale_of(int part) { return kScheme.sub_scales > 0 ? 0 : part * kLayout.scales / kBlockGroups; }

  // `part` counts from the first group.
  Factors factors(int panel, int v, int part) const {
    const std::byte* row = header + panel * stride + v * kLanes;
    const std::byte* scale_at =
        header + panel * stride + kLayout.scale_bytes * (scale_of(part) * kPanelRows + v * kLanes);
    const std::byte* sub = row + part * kPanelRows;
    Factors f;
    f.scale = kScheme.power_scales ? load_e8m0_halves(scale_at) : header_f16(scale_at);
    f.min = kMins ? header_f16(scale_at + kLayout.mins_offset) : set1(0);
    if constexpr (kScheme.sub_scales > 0) f.scale = mul(f.scale, widen_i8(sub + kLayout.sub_scales_offset));
    if constexpr (kScheme.sub_scales > 0 && kMins) f.min = mul(f.min, widen_i8(sub + kLayout.sub_mins_offset));
    f.unmagic = mul(f.scale, set1(-kMagic));
    if constexpr (kZeros) f.zero = widen_u8(row + kLayout.zeros_offset + scale_of(part) * kPanelRows);
    return f;
  }
};

// Reads the same 256 columns (fewer at the end of a row) of several panels, `stride` bytes apart, group by group: the
// words of a group in ascending order, each of them once for every vector.
template <Format kFormat>
struct PackedCodes : PanelScales<kFormat> {
  using PanelScales<kFormat>::kScheme;
  using PanelScales<kFormat>::kLayout;
  static constexpr TileShape kTile = kQ8Tile;

  const std::byte* codes;  // of the current group of the first panel
  Bytes levels;

  PackedCodes(const std::byte* packed, int64_t panel_stride)
      : PanelScales<kFormat>{packed, panel_stride}, codes(packed + kLayout.header_bytes), levels(set1_byte(0)) {
    if constexpr (kScheme.levels != nullptr)
      levels = add_bytes(load_table(kScheme.levels), set1_byte(code_zero(kScheme)));
  }

  template <int kWord>
  Bytes word(int panel, int v) {
    const std::byte* low = codes + panel * this->stride + v * kVectorBytes;
    const std::byte* high = low + kScheme.low_bits * kWordBytes;
    Bytes word = plane_word<kScheme.low_bits, kWord, 0>(low);
    if constexpr (kScheme.high_bits > 0) {
      word = or_bytes(word, plane_word<kScheme.high_bits, kWord, kScheme.low_bits>(high));
    }
    if constexpr (kScheme.levels != nullptr) return look_up(levels, word);
    return word;
  }

  void skip_groups(int count) { codes += count * kLayout.group_bytes; }
  void next_group() { skip_groups(1); }
};

// The same for a sparse format, and one panel only: each vector is a stream of its own, and more of them at a time are
// slower.
template <Format kFormat, typename Expander>
struct SparseCodes : PanelScales<kFormat> {
  using PanelScales<kFormat>::kLayout;
  static constexpr TileShape kTile = {kQ8Tile.tokens, kPanelVectors};
  static_assert(kLayout.group_bytes * kSparseGroups == kSparseBytes);

  const std::byte* bitmaps;              // of the current group
  const std::byte* kept[kPanelVectors];  // the next code
  int group = 0;                         // of the current 64 columns

  SparseCodes(const std::byte* packed, int64_t panel_stride)
      : PanelScales<kFormat>{packed, panel_stride}, bitmaps(packed + kLayout.header_bytes) {
    begin();
  }

  template <int kWord>
  [[gnu::always_inline]] Bytes word(int, int v) {
    return Expander::expand(kept[v], bitmaps + (kWord * kPanelVectors + v) * kBitmapBytes);
  }

  // From the start of 64 columns on.
  void skip_groups(int count) {
    bitmaps += count * kLayout.group_bytes;
    begin();
  }
  [[gnu::always_inline]] void next_group() {
    bitmaps += kSparseBitmaps / kSparseGroups;
    if (++group < kSparseGroups) return;
    group = 0;
    bitmaps += kPanelVectors * kSparseCodes;
    begin();
  }

 private:
  [[gnu::always_inline]] void begin() {
    for (int v = 0; v < kPanelVectors; ++v) kept[v] = bitmaps + kSparseBitmaps + v * kSparseCodes;
  }
};

template <Format kFormat>
requires(scheme_of(kFormat).is_sparse) struct PackedCodes<kFormat> : SparseCodes<kFormat, TableExpander> {
  using SparseCodes<kFormat, TableExpander>::SparseCodes;
};

constexpr int kDecodedGroupBytes = kGroupWords * kWordBytes;

// A decoded panel, which stays in the first-level cache while it is multiplied by many tokens.
struct alignas(64) DecodedPanel {
  float factors[2 * kBlockGroups][kPanelVectors][3][kLanes];  // scale, unmagic, min or zero
  std::byte codes[kBlockGroups * kDecodedGroupBytes];
};

template <int kWord, typename Packed>
inline void decode_words(Packed& packed, int v, std::byte* out) {
  if constexpr (kWord < kGroupWords) {
    store_bytes(out + kWord * kWordBytes, packed.template word<kWord>(0, v));
    decode_words<kWord + 1>(packed, v, out);
  }
}

template <typename Packed>
inline void decode_factors(const Packed& packed, int group, int v, DecodedPanel& out) {
  for (int part = group * Packed::kParts; part < (group + 1) * Packed::kParts; ++part) {
    const Factors f = packed.factors(0, v, part);
    store(out.factors[part][v][0], f.scale);
    store(out.factors[part][v][1], f.unmagic);
    if constexpr (Packed::kMins) store(out.factors[part][v][2], f.min);
    if constexpr (Packed::kZeros) store_bytes(out.factors[part][v][2], f.zero);
  }
}

// Returns the decoded codes: in `out`, or in `from` when they need no decoding.
template <typename Packed>
const std::byte* decode_panel(const std::byte* from, int groups, DecodedPanel& out) {
  constexpr bool kInPlace = Packed::kScheme.low_bits == 8 && !Packed::kScheme.is_sparse;
  Packed packed(from, 0);
  const std::byte* const codes = from + Packed::kLayout.header_bytes;
  for (int g = 0; g < groups; ++g) {
    for (int v = 0; v < kPanelVectors; ++v) {
      decode_factors(packed, g, v, out);
      if constexpr (!kInPlace) {
        decode_words<0>(packed, v, out.codes + g * kDecodedGroupBytes + v * kVectorBytes);
      }
    }
    packed.next_group();
  }
  return kInPlace ? codes : out.codes;
}

// Reads one decoded panel. The template parameters are what the instruction sets distinguish, so formats that agree in
// them share the code.
template <int kBits, int kPartsOfGroup, bool kHasMins, bool kHasZeros>
struct DecodedCodes {
  static constexpr int kDotBits = kBits;
  static constexpr int kParts = kPartsOfGroup;
  static constexpr bool kMins = kHasMins;
  static constexpr bool kZeros = kHasZeros;

  const DecodedPanel* decoded;
  const std::byte* codes;  // of the current group

  template <int kWord>
  Bytes word(int, int v) const {
    return load_bytes(codes + kWord * kWordBytes + v * kVectorBytes);
  }
  Factors factors(int, int v, int part) const {
    const auto& f = decoded->factors[part][v];
    return {load(f[0]), load(f[1]), kMins ? load(f[2]) : set1(0), kZeros ? load_bytes(f[2]) : set1_byte(0)};
  }
  void next_group() { codes += kDecodedGroupBytes; }
};

// Converts a column of an F8_G128 panel to floats. Codes are widened through f16, in which the bits of E4M3 mean 2^-8
// of the value, also for denormals. The scale includes a factor of 2^8, so each value is scale * code, rounded once.
inline Vec f8_scale(const float* scales) { return mul(load(scales), set1(256.0f)); }
inline void load_f8(const std::byte* codes, const Vec* scales, Vec* rows) {
  static_assert(kPanelVectors == 2);
  load_e4m3_256ths(codes, rows[0], rows[1]);
  rows[0] = mul(rows[0], scales[0]);
  rows[1] = mul(rows[1], scales[1]);
}

}  // namespace
}  // namespace quire
