// Q2_K, Q4_K and Q5_K: groups of unsigned codes with an integer scale and an integer minimum each, two f16 scales above
// them.
#include <algorithm>
#include <array>

#include "tensor/formats/conversions.h"
#include "tensor/formats/scale_search.h"
#include "tensor/half.h"

namespace quire {
namespace {

struct GroupScale {
  int scale;
  int minimum;
};

GroupScale group_scale(const BlockQ2_K& block, int group) {
  return {block.scales[group] & 15, block.scales[group] >> 4};
}

void store_group_scale(BlockQ2_K& block, int group, GroupScale value) {
  block.scales[group] = static_cast<uint8_t>(value.scale | (value.minimum << 4));
}

int code(const BlockQ2_K& block, int i) { return (block.q[32 * (i / 128) + i % 32] >> (2 * (i % 128 / 32))) & 3; }

void store_code(BlockQ2_K& block, int i, int value) {
  uint8_t& byte = block.q[32 * (i / 128) + i % 32];
  byte = static_cast<uint8_t>(byte | (value << (2 * (i % 128 / 32))));
}

// Q4_K and Q5_K pack their scales in the same twelve bytes.
template <typename Block>
GroupScale group_scale(const Block& block, int group) {
  const uint8_t* s = block.scales;
  if (group < 4) return {s[group] & 63, s[4 + group] & 63};
  return {(s[4 + group] & 15) | ((s[group - 4] >> 6) << 4), (s[4 + group] >> 4) | ((s[group] >> 6) << 4)};
}

template <typename Block>
void store_group_scale(Block& block, int group, GroupScale value) {
  const auto merge = [](uint8_t& byte, int bits) { byte = static_cast<uint8_t>(byte | bits); };
  uint8_t* s = block.scales;
  if (group < 4) {
    merge(s[group], value.scale);
    merge(s[4 + group], value.minimum);
  } else {
    merge(s[4 + group], (value.scale & 15) | ((value.minimum & 15) << 4));
    merge(s[group - 4], (value.scale >> 4) << 6);
    merge(s[group], (value.minimum >> 4) << 6);
  }
}

int code(const BlockQ4_K& block, int i) { return (block.q[32 * (i / 64) + i % 32] >> (4 * (i % 64 / 32))) & 15; }

void store_code(BlockQ4_K& block, int i, int value) {
  uint8_t& byte = block.q[32 * (i / 64) + i % 32];
  byte = static_cast<uint8_t>(byte | (value << (4 * (i % 64 / 32))));
}

int code(const BlockQ5_K& block, int i) {
  const int low = (block.q[32 * (i / 64) + i % 32] >> (4 * (i % 64 / 32))) & 15;
  return low | (((block.high[i % 32] >> (i / 32)) & 1) << 4);
}

void store_code(BlockQ5_K& block, int i, int value) {
  uint8_t& low = block.q[32 * (i / 64) + i % 32];
  low = static_cast<uint8_t>(low | ((value & 15) << (4 * (i % 64 / 32))));
  block.high[i % 32] = static_cast<uint8_t>(block.high[i % 32] | ((value >> 4) << (i / 32)));
}

template <typename Block>
struct Shape;
template <>
struct Shape<BlockQ2_K> {
  static constexpr int kGroupElements = 16, kMaxCode = 3, kMaxScale = 15;
};
template <>
struct Shape<BlockQ4_K> {
  static constexpr int kGroupElements = 32, kMaxCode = 15, kMaxScale = 63;
};
template <>
struct Shape<BlockQ5_K> {
  static constexpr int kGroupElements = 32, kMaxCode = 31, kMaxScale = 63;
};

template <typename Block>
Block pack(const BlockParts& parts) {
  constexpr int kGroups = 256 / Shape<Block>::kGroupElements;
  Block block = {};
  block.d = parts.d;
  block.dmin = parts.minimum;
  for (int g = 0; g < kGroups; ++g) store_group_scale(block, g, {parts.scales[g], parts.minimums[g]});
  for (int i = 0; i < 256; ++i) store_code(block, i, parts.codes[i]);
  return block;
}

template <typename Block>
void decode(const Block& block, float* out) {
  constexpr int kGroupElements = Shape<Block>::kGroupElements;
  const float d = f16_to_f32(block.d);
  const float dmin = f16_to_f32(block.dmin);
  for (int g = 0; g < 256 / kGroupElements; ++g) {
    const GroupScale value = group_scale(block, g);
    const float scale = d * static_cast<float>(value.scale);
    const float minimum = dmin * static_cast<float>(value.minimum);
    for (int i = g * kGroupElements; i < (g + 1) * kGroupElements; ++i) {
      out[i] = scale * static_cast<float>(code(block, i)) - minimum;
    }
  }
}

int nearest_integer(float value, int high) {
  return static_cast<int>(round_within(value, 0, static_cast<float>(high)));
}

// The pair of integers near `wanted` for which the group's error is smallest.
GroupScale best_group_scale(std::span<const float> x, ScaleMin wanted, float d, float dmin, int max_scale,
                            float max_code) {
  const int scale = d > 0 ? nearest_integer(wanted.scale / d, max_scale) : 0;
  const int minimum = dmin > 0 ? nearest_integer(wanted.minimum / dmin, max_scale) : 0;
  GroupScale best = {scale, minimum};
  float best_error = INFINITY;
  for (int s = std::max(0, scale - 1); s <= std::min(max_scale, scale + 1); ++s) {
    for (int m = std::max(0, minimum - 1); m <= std::min(max_scale, minimum + 1); ++m) {
      const float error = affine_error(x, {d * static_cast<float>(s), dmin * static_cast<float>(m)}, max_code);
      if (error < best_error) {
        best_error = error;
        best = {s, m};
      }
    }
  }
  return best;
}

template <typename Block>
Block encode(const float* in) {
  using S = Shape<Block>;
  constexpr int kGroups = 256 / S::kGroupElements;
  std::array<ScaleMin, kGroups> wanted;
  ScaleMin largest;
  for (int g = 0; g < kGroups; ++g) {
    ScaleMin& fit = wanted[static_cast<size_t>(g)];
    fit = search_scale_min(std::span(in + g * S::kGroupElements, S::kGroupElements), S::kMaxCode);
    largest = {std::max(largest.scale, fit.scale), std::max(largest.minimum, fit.minimum)};
  }
  Block block = {};
  block.d = f32_to_f16(largest.scale / S::kMaxScale);
  block.dmin = f32_to_f16(largest.minimum / S::kMaxScale);
  const float d = f16_to_f32(block.d);
  const float dmin = f16_to_f32(block.dmin);
  for (int g = 0; g < kGroups; ++g) {
    const std::span x(in + g * S::kGroupElements, S::kGroupElements);
    const GroupScale chosen = best_group_scale(x, wanted[static_cast<size_t>(g)], d, dmin, S::kMaxScale, S::kMaxCode);
    store_group_scale(block, g, chosen);
    const float scale = d * static_cast<float>(chosen.scale);
    const float minimum = dmin * static_cast<float>(chosen.minimum);
    const float inverse = scale > 0 ? 1 / scale : 0;
    for (int i = 0; i < S::kGroupElements; ++i) {
      const float value = (x[static_cast<size_t>(i)] + minimum) * inverse;
      store_code(block, g * S::kGroupElements + i, nearest_integer(value, S::kMaxCode));
    }
  }
  return block;
}

}  // namespace

FormatRows q2_k_q4_k_formats() {
  static constexpr WeightFormat kRows[] = {
      block_format<BlockQ2_K, decode, encode>(Format::kQ2_K, "Q2_K"),
      block_format<BlockQ4_K, decode, encode>(Format::kQ4_K, "Q4_K"),
      block_format<BlockQ5_K, decode, encode>(Format::kQ5_K, "Q5_K"),
  };
  return kRows;
}

PackRows q2_k_q4_k_packers() {
  static constexpr PackRow kRows[] = {
      pack_row<BlockQ2_K, pack<BlockQ2_K>>(Format::kQ2_K),
      pack_row<BlockQ4_K, pack<BlockQ4_K>>(Format::kQ4_K),
      pack_row<BlockQ5_K, pack<BlockQ5_K>>(Format::kQ5_K),
  };
  return kRows;
}

}  // namespace quire
