// I4_G32, I4_G128 and I8_G128: integers in groups under an f16 scale, the four-bit ones with a whole zero point: GPTQ,
// AWQ and their like. Quantising spreads the codes over the group's range, which includes 0.
#include <algorithm>
#include <cmath>

#include "tensor/formats/conversions.h"
#include "tensor/half.h"

namespace quire {
namespace {

template <int kGroup>
void decode_i4(const BlockI4<kGroup>& block, float* out) {
  const float d = f16_to_f32(block.d);
  for (int i = 0; i < kGroup; ++i) {
    const int code = (block.q[i / 32 * 16 + i % 16] >> (i % 32 / 16 * 4)) & 15;
    out[i] = d * static_cast<float>(code - block.zero);
  }
}

template <int kGroup>
BlockI4<kGroup> encode_i4(const float* in) {
  float low = 0;
  float high = 0;
  for (int i = 0; i < kGroup; ++i) {
    low = std::min(low, in[i]);
    high = std::max(high, in[i]);
  }
  BlockI4<kGroup> block = {};
  block.d = f32_to_f16((high - low) / 15);
  const float d = f16_to_f32(block.d);
  const float inverse = d > 0 ? 1 / d : 0;
  block.zero = static_cast<uint8_t>(round_within(-low * inverse, 0, 15));
  for (int i = 0; i < kGroup; ++i) {
    const float code = round_within(in[i] * inverse + static_cast<float>(block.zero), 0, 15);
    uint8_t& pair = block.q[i / 32 * 16 + i % 16];
    pair = static_cast<uint8_t>(pair | (static_cast<int>(code) << (i % 32 / 16 * 4)));
  }
  return block;
}

void decode_i8(const BlockI8& block, float* out) {
  const float d = f16_to_f32(block.d);
  for (int i = 0; i < BlockI8::kElements; ++i) out[i] = d * static_cast<float>(block.q[i]);
}

BlockI8 encode_i8(const float* in) {
  float largest = 0;
  for (int i = 0; i < BlockI8::kElements; ++i) largest = std::max(largest, std::abs(in[i]));
  BlockI8 block = {.d = f32_to_f16(largest / 127), .q = {}};
  const float d = f16_to_f32(block.d);
  const float inverse = d > 0 ? 1 / d : 0;
  for (int i = 0; i < BlockI8::kElements; ++i) {
    block.q[i] = static_cast<int8_t>(round_within(in[i] * inverse, -127, 127));
  }
  return block;
}

}  // namespace

FormatRows int_group_formats() {
  static constexpr WeightFormat kRows[] = {
      block_format<BlockI4<32>, decode_i4<32>, encode_i4<32>>(Format::kI4_G32, "I4_G32"),
      block_format<BlockI4<128>, decode_i4<128>, encode_i4<128>>(Format::kI4_G128, "I4_G128"),
      block_format<BlockI8, decode_i8, encode_i8>(Format::kI8_G128, "I8_G128"),
  };
  return kRows;
}

}  // namespace quire
