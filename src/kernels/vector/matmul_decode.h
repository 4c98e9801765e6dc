// From a packed part of a panel to what the multiplication reads: one byte per code and float scales, for any format.
// See math.h for how files of this folder are used.
#pragma once

namespace quire {
namespace {

// 1.5 * 2^23: floats around it are whole numbers, and their bits are this one's bits plus the number. A sum of integer
// products that starts from these bits is therefore the float kMagic + sum without a conversion (|sum| < 2^22: at most
// 32 * 128 * 127).
constexpr float kMagic = 12582912.0f;
constexpr int32_t kMagicBits = 0x4b400000;

// The factors of one group (or half group) of a panel: sum * scale = (kMagic + sum) * scale + unmagic, exact but for
// one rounding, because scale has at most 18 significant bits.
struct PanelFactors {
  float scale[kPanelVectors][kLanes];
  float unmagic[kPanelVectors][kLanes];
  float min[kPanelVectors][kLanes];
};

struct alignas(64) DecodedPanel {
  PanelFactors factors[2 * kBlockGroups];
  std::byte codes[kBlockGroups * kPanelVectors * kGroupWords * kVectorBytes];
};

constexpr int kDecodedGroupBytes = kPanelVectors * kGroupWords * kVectorBytes;

// Word kWord of a group, as the plane of kBits holds it, moved to bit kAt of each byte.
template <int kBits, int kWord, int kAt>
inline Bytes plane_word(const std::byte* plane) {
  constexpr int kHeldAt = kWord / kBits * kBits;
  const Bytes held = load_bytes(plane + kWord % kBits * kVectorBytes);
  return and_bytes(shift_left<kAt - kHeldAt>(held), set1_byte(((1 << kBits) - 1) << kAt));
}

// What turns codes into values plus kCodeZero: a table of levels, or how much to add.
template <Format kFormat, int kWord>
inline void decode_words(const std::byte* low, const std::byte* high, Bytes meaning, std::byte* out) {
  if constexpr (kWord < kGroupWords) {
    constexpr CodeScheme kScheme = scheme_of(kFormat);
    Bytes codes = plane_word<kScheme.low_bits, kWord, 0>(low);
    if constexpr (kScheme.high_bits > 0) {
      codes = or_bytes(codes, plane_word<kScheme.high_bits, kWord, kScheme.low_bits>(high));
    }
    if constexpr (kScheme.levels != nullptr) {
      codes = look_up(meaning, codes);
    } else if constexpr (kScheme.has_zeros || kCodeZero != kScheme.zero) {
      codes = add_bytes(codes, meaning);
    }
    store_bytes(out + kWord * kVectorBytes, codes);
    decode_words<kFormat, kWord + 1>(low, high, meaning, out);
  }
}

// For the rows of vector v in one group.
template <Format kFormat>
inline Bytes meaning_of_codes(const std::byte* header, int group, int v) {
  constexpr CodeScheme kScheme = scheme_of(kFormat);
  constexpr BlockLayout kLayout = block_layout(kScheme);
  if constexpr (kScheme.levels != nullptr) {
    return add_bytes(load_table(kScheme.levels), set1_byte(kCodeZero));
  } else if constexpr (kScheme.has_zeros) {
    const int scale = group * kLayout.scales / kBlockGroups;
    const std::byte* zeros = header + kLayout.zeros_offset + scale * kPanelRows + v * kLanes;
    return sub_bytes(set1_byte(kCodeZero), spread_bytes(zeros));
  } else {
    return set1_byte(kCodeZero - kScheme.zero);
  }
}

template <Format kFormat>
inline void decode_group(const std::byte* header, int group, const std::byte* packed, std::byte* out) {
  constexpr CodeScheme kScheme = scheme_of(kFormat);
  const std::byte* high = packed + kPanelVectors * kScheme.low_bits * kVectorBytes;
  for (int v = 0; v < kPanelVectors; ++v) {
    decode_words<kFormat, 0>(packed + v * kScheme.low_bits * kVectorBytes, high + v * kScheme.high_bits * kVectorBytes,
                             meaning_of_codes<kFormat>(header, group, v), out + v * kGroupWords * kVectorBytes);
  }
}

inline Vec header_f16(const std::byte* at) { return load_f16(reinterpret_cast<const uint16_t*>(at)); }

template <Format kFormat>
inline void decode_factors(const std::byte* header, int groups, PanelFactors* out) {
  constexpr CodeScheme kScheme = scheme_of(kFormat);
  constexpr BlockLayout kLayout = block_layout(kScheme);
  const int count = kScheme.sub_scales == 2 * kBlockGroups ? 2 * groups : groups;
  for (int v = 0; v < kPanelVectors; ++v) {
    for (int i = 0; i < count; ++i) {
      const int row = v * kLanes;
      const int at = kScheme.sub_scales > 0 ? 0 : i * kLayout.scales / kBlockGroups;
      const std::byte* scale_at = header + kLayout.scale_bytes * (at * kPanelRows + row);
      Vec scale = kScheme.power_scales ? load_e8m0_halves(scale_at) : header_f16(scale_at);
      Vec min = set1(0);
      if constexpr (kScheme.has_min) min = header_f16(scale_at + kLayout.mins_offset);
      if constexpr (kScheme.sub_scales > 0) {
        const std::byte* sub = header + i * kPanelRows + row;
        scale = mul(scale, widen_i8(sub + kLayout.sub_scales_offset));
        if constexpr (kScheme.has_min) min = mul(min, widen_i8(sub + kLayout.sub_mins_offset));
      }
      store(out[i].scale[v], scale);
      store(out[i].unmagic[v], mul(scale, set1(-kMagic)));
      if constexpr (kScheme.has_min) store(out[i].min[v], min);
    }
  }
}

// Decodes the part of a panel at `header`. Returns where its codes are: in `out`, or where they lie if they need no
// decoding.
template <Format kFormat>
const std::byte* decode_part(const std::byte* header, int groups, DecodedPanel& out) {
  constexpr CodeScheme kScheme = scheme_of(kFormat);
  constexpr BlockLayout kLayout = block_layout(kScheme);
  decode_factors<kFormat>(header, groups, out.factors);
  const std::byte* packed = header + kLayout.header_bytes;
  if constexpr (kScheme.low_bits == 8) {
    return packed;
  } else {
    for (int g = 0; g < groups; ++g) {
      decode_group<kFormat>(header, g, packed, out.codes + g * kDecodedGroupBytes);
      packed += kLayout.group_bytes;
    }
    return out.codes;
  }
}

// `columns` columns of a part of an F8_G128 panel, from column `first` on, as floats. Codes widen through f16, where
// E4M3's bits mean 2^-8 of the value, denormals included; the scale makes up for that, so that each value is the
// product of scale and code, rounded once.
inline void decode_f8(const std::byte* part, int first, int columns, float* out) {
  static_assert(kPanelVectors == 2);
  const std::byte* codes = part + (4 + first) * kPanelRows;
  const auto* scales = reinterpret_cast<const float*>(part);
  const Vec low_scale = mul(load(scales), set1(256.0f));
  const Vec high_scale = mul(load(scales + kLanes), set1(256.0f));
  for (int at = 0; at < columns * kPanelRows; at += kPanelRows) {
    Vec low, high;
    load_e4m3_256ths(codes + at, low, high);
    store(out + at, mul(low, low_scale));
    store(out + at + kLanes, mul(high, high_scale));
  }
}

}  // namespace
}  // namespace quire
