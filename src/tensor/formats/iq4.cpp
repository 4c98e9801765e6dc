// IQ4_NL and IQ4_XS: four-bit codes into a fixed table of 16 uneven levels. NL has an f16 scale per 32 elements, XS
// six-bit scales per 32 below an f16 per 256.
#include <array>

#include "tensor/formats/conversions.h"
#include "tensor/formats/scale_search.h"
#include "tensor/half.h"

namespace quire {
namespace {

struct IQ4Levels {
  float middle[15];  // between each level and the next: from there on the next is nearer

  constexpr IQ4Levels() : middle() {
    for (int i = 0; i < 15; ++i) middle[i] = static_cast<float>(kIQ4Levels[i] + kIQ4Levels[i + 1]) / 2;
  }
  int code(float value) const {
    int code = 0;
    for (const int step : {8, 4, 2, 1}) code += value >= middle[code + step - 1] ? step : 0;
    return code;
  }
  float level(int code) const { return static_cast<float>(kIQ4Levels[code]); }
  float nearest(float value) const { return level(code(value)); }
  float lowest() const { return level(0); }
  float highest() const { return level(15); }
};
constexpr IQ4Levels kLevels;
constexpr float kSpread = 0.15f;

void unpack(const uint8_t* q, float scale, float* out) {
  for (int i = 0; i < 16; ++i) {
    out[i] = scale * kLevels.level(q[i] & 15);
    out[i + 16] = scale * kLevels.level(q[i] >> 4);
  }
}

void pack(const float* in, float scale, uint8_t* q) {
  const float inverse = scale == 0 ? 0 : 1 / scale;
  for (int i = 0; i < 16; ++i) {
    q[i] = static_cast<uint8_t>(kLevels.code(in[i] * inverse) | (kLevels.code(in[i + 16] * inverse) << 4));
  }
}

void pack(const int* codes, uint8_t* q) {
  for (int i = 0; i < 16; ++i) q[i] = static_cast<uint8_t>(codes[i] | (codes[i + 16] << 4));
}

void decode_nl(const BlockIQ4_NL& block, float* out) { unpack(block.q, f16_to_f32(block.d), out); }

BlockIQ4_NL encode_nl(const float* in) {
  BlockIQ4_NL block = {.d = f32_to_f16(search_scale(std::span(in, 32), kLevels, kSpread)), .q = {}};
  pack(in, f16_to_f32(block.d), block.q);
  return block;
}

BlockIQ4_NL pack_nl(const BlockParts& parts) {
  BlockIQ4_NL block = {.d = parts.d, .q = {}};
  pack(parts.codes, block.q);
  return block;
}

void decode_xs(const BlockIQ4_XS& block, float* out) {
  const float d = f16_to_f32(block.d);
  for (int g = 0; g < 8; ++g) {
    const int low = (block.scales_low[g / 2] >> (4 * (g % 2))) & 15;
    const int high = (block.scales_high >> (2 * g)) & 3;
    unpack(block.q + 16 * g, d * static_cast<float>((low | (high << 4)) - 32), out + 32 * g);
  }
}

constexpr int kLowestScale = -32;

void store_scale(BlockIQ4_XS& block, int group, int scale) {
  const int bits = scale - kLowestScale;
  uint8_t& low = block.scales_low[group / 2];
  low = static_cast<uint8_t>(low | ((bits & 15) << (4 * (group % 2))));
  block.scales_high = static_cast<uint16_t>(block.scales_high | ((bits >> 4) << (2 * group)));
}

BlockIQ4_XS pack_xs(const BlockParts& parts) {
  BlockIQ4_XS block = {};
  block.d = parts.d;
  for (int g = 0; g < 8; ++g) {
    store_scale(block, g, parts.scales[g]);
    pack(parts.codes + 32 * g, block.q + 16 * g);
  }
  return block;
}

BlockIQ4_XS encode_xs(const float* in) {
  std::array<float, 8> wanted;
  for (int g = 0; g < 8; ++g) {
    wanted[static_cast<size_t>(g)] = search_scale(std::span(in + 32 * g, 32), kLevels, kSpread);
  }
  BlockIQ4_XS block = {};
  block.d = f32_to_f16(largest_magnitude(wanted) / kLowestScale);
  const float d = f16_to_f32(block.d);
  for (int g = 0; g < 8; ++g) {
    const std::span x(in + 32 * g, 32);
    const int scale = d == 0 ? 0 : best_integer_scale(x, wanted[static_cast<size_t>(g)], d, kLowestScale, kLevels);
    store_scale(block, g, scale);
    pack(x.data(), d * static_cast<float>(scale), block.q + 16 * g);
  }
  return block;
}

}  // namespace

FormatRows iq4_formats() {
  static constexpr WeightFormat kRows[] = {
      block_format<BlockIQ4_NL, decode_nl, encode_nl>(Format::kIQ4_NL, "IQ4_NL"),
      block_format<BlockIQ4_XS, decode_xs, encode_xs>(Format::kIQ4_XS, "IQ4_XS"),
  };
  return kRows;
}

PackRows iq4_packers() {
  static constexpr PackRow kRows[] = {
      pack_row<BlockIQ4_NL, pack_nl>(Format::kIQ4_NL),
      pack_row<BlockIQ4_XS, pack_xs>(Format::kIQ4_XS),
  };
  return kRows;
}

}  // namespace quire
