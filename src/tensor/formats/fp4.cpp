// Four-bit floats (E2M1). MXFP4 has a power of two per 32: the largest magnitude comes to lie between 4 and 8 times the
// scale, where above 6 it is cut off: the rule of the OCP specification, and ggml's. NVFP4 has E4M3 scales per 16, and
// the loader's F4_G16 a float above them: the largest magnitude becomes 6 times the scale.
#include <algorithm>
#include <cmath>

#include "tensor/float8.h"
#include "tensor/formats/conversions.h"

namespace quire {
namespace {

constexpr float kHighestLevel = 12;  // of kMXFP4Levels, which are twice E2M1

float level(int code) { return static_cast<float>(kMXFP4Levels[code]); }

// The nearest level, the first in the table among equals.
int code_of(float value) {
  int best = 0;
  for (int code = 1; code < 16; ++code) {
    const auto distance = [value](int c) { return std::abs(level(c) - value); };
    if (distance(code) < distance(best)) best = code;
  }
  return best;
}

float largest_of(const float* in, int count) {
  float largest = 0;
  for (int i = 0; i < count; ++i) largest = std::max(largest, std::abs(in[i]));
  return largest;
}

// `count` elements: the first half are the low nibbles, the second half the high ones.
void unpack(const uint8_t* q, int count, float scale, float* out) {
  for (int i = 0; i < count / 2; ++i) {
    out[i] = scale * level(q[i] & 15);
    out[i + count / 2] = scale * level(q[i] >> 4);
  }
}

void pack(const float* in, int count, float inverse, uint8_t* q) {
  for (int i = 0; i < count / 2; ++i) {
    q[i] = static_cast<uint8_t>(code_of(in[i] * inverse) | (code_of(in[i + count / 2] * inverse) << 4));
  }
}

void decode_mxfp4(const BlockMXFP4& block, float* out) { unpack(block.q, 32, e8m0_half_to_f32(block.e), out); }

BlockMXFP4 encode_mxfp4(const float* in) {
  const float largest = largest_of(in, 32);
  BlockMXFP4 block = {};
  if (largest > 0 && std::isfinite(largest)) {
    block.e = static_cast<uint8_t>(std::clamp(std::ilogb(largest) - 2 + 127, 0, 254));
  }
  pack(in, 32, 1 / e8m0_half_to_f32(block.e), block.q);
  return block;
}

BlockMXFP4 pack_mxfp4(const BlockParts& parts) {
  BlockMXFP4 block = {.e = static_cast<uint8_t>(parts.d), .q = {}};
  for (int i = 0; i < 16; ++i) block.q[i] = static_cast<uint8_t>(parts.codes[i] | (parts.codes[i + 16] << 4));
  return block;
}

// ggml's unsigned E4M3, halved because levels are doubled. 0x7f is no NaN but 0, as ggml reads it.
float ue4m3_half(uint8_t bits) {
  const auto magnitude = static_cast<uint8_t>(bits & 0x7f);
  return magnitude == 0x7f ? 0 : 0.5f * e4m3_to_f32(magnitude);
}

void decode_nvfp4(const BlockNVFP4& block, float* out) {
  for (int g = 0; g < 4; ++g) unpack(block.q + 8 * g, 16, ue4m3_half(block.scales[g]), out + 16 * g);
}

void decode_f4(const BlockF4& block, float* out) {
  for (int g = 0; g < 4; ++g) {
    unpack(block.q + 8 * g, 16, 0.5f * block.d * e4m3_to_f32(block.scales[g]), out + 16 * g);
  }
}

// The E4M3 scale of a group of 16 below `d`, and its codes.
uint8_t pack_group(const float* in, float d, uint8_t* q) {
  const uint8_t scale = d > 0 ? f32_to_e4m3(largest_of(in, 16) / (kHighestLevel / 2) / d) : 0;
  const float unit = 0.5f * d * e4m3_to_f32(scale);
  pack(in, 16, unit > 0 ? 1 / unit : 0, q);
  return scale;
}

BlockNVFP4 encode_nvfp4(const float* in) {
  BlockNVFP4 block = {};
  for (int g = 0; g < 4; ++g) block.scales[g] = pack_group(in + 16 * g, 1, block.q + 8 * g);
  return block;
}

BlockF4 encode_f4(const float* in) {
  BlockF4 block = {};
  block.d = largest_of(in, BlockF4::kElements) / (kHighestLevel / 2 * kE4M3Largest);
  for (int g = 0; g < 4; ++g) block.scales[g] = pack_group(in + 16 * g, block.d, block.q + 8 * g);
  return block;
}

}  // namespace

FormatRows fp4_formats() {
  static constexpr WeightFormat kRows[] = {
      block_format<BlockMXFP4, decode_mxfp4, encode_mxfp4>(Format::kMXFP4, "MXFP4"),
      block_format<BlockNVFP4, decode_nvfp4, encode_nvfp4>(Format::kNVFP4, "NVFP4"),
      block_format<BlockF4, decode_f4, encode_f4>(Format::kF4_G16, "F4_G16"),
  };
  return kRows;
}

PackRows mxfp4_packers() {
  static constexpr PackRow kRows[] = {
      pack_row<BlockMXFP4, pack_mxfp4>(Format::kMXFP4),
  };
  return kRows;
}

}  // namespace quire
