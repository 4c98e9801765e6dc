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

template <Format kFormat, int kWord>
inline void decode_words(const std::byte* low, const std::byte* high, Bytes table, std::byte* out) {
  if constexpr (kWord < kGroupWords) {
    constexpr CodeScheme kScheme = scheme_of(kFormat);
    Bytes codes = plane_word<kScheme.low_bits, kWord, 0>(low);
    if constexpr (kScheme.high_bits > 0) {
      codes = or_bytes(codes, plane_word<kScheme.high_bits, kWord, kScheme.low_bits>(high));
    }
    if constexpr (kScheme.table) {
      codes = look_up(table, codes);
    } else if constexpr (kCodeZero != kScheme.zero) {
      codes = add_bytes(codes, set1_byte(kCodeZero - kScheme.zero));
    }
    store_bytes(out + kWord * kVectorBytes, codes);
    decode_words<kFormat, kWord + 1>(low, high, table, out);
  }
}

template <Format kFormat>
inline void decode_group(const std::byte* packed, Bytes table, std::byte* out) {
  constexpr CodeScheme kScheme = scheme_of(kFormat);
  const std::byte* high = packed + kPanelVectors * kScheme.low_bits * kVectorBytes;
  for (int v = 0; v < kPanelVectors; ++v) {
    decode_words<kFormat, 0>(packed + v * kScheme.low_bits * kVectorBytes, high + v * kScheme.high_bits * kVectorBytes,
                             table, out + v * kGroupWords * kVectorBytes);
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
      const std::byte* scale_at = header + 2 * ((kLayout.scales == 1 ? 0 : i) * kPanelRows + row);
      Vec scale = header_f16(scale_at);
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

// Decodes the part of a panel at `packed`. Returns where its codes are: in `out`, or where they lie if they need no
// decoding.
template <Format kFormat>
const std::byte* decode_part(const std::byte* packed, int groups, DecodedPanel& out) {
  constexpr CodeScheme kScheme = scheme_of(kFormat);
  constexpr BlockLayout kLayout = block_layout(kScheme);
  decode_factors<kFormat>(packed, groups, out.factors);
  packed += kLayout.header_bytes;
  if constexpr (kScheme.low_bits == 8) {
    return packed;
  } else {
    const Bytes table = kScheme.table ? add_bytes(load_table(kIQ4Levels), set1_byte(kCodeZero)) : set1_byte(0);
    for (int g = 0; g < groups; ++g) {
      decode_group<kFormat>(packed, table, out.codes + g * kDecodedGroupBytes);
      packed += kLayout.group_bytes;
    }
    return out.codes;
  }
}

}  // namespace
}  // namespace quire
