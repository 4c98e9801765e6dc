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

void dequantize_i4_g32(const std::byte* blocks, float* out, int64_t num_elements) {
  for_each_block<BlockI4<32>>(blocks, out, num_elements, decode_i4<32>);
}
void quantize_i4_g32(const float* in, std::byte* blocks, int64_t num_elements) {
  for_each_block<BlockI4<32>>(in, blocks, num_elements, encode_i4<32>);
}

void dequantize_i4_g128(const std::byte* blocks, float* out, int64_t num_elements) {
  for_each_block<BlockI4<128>>(blocks, out, num_elements, decode_i4<128>);
}
void quantize_i4_g128(const float* in, std::byte* blocks, int64_t num_elements) {
  for_each_block<BlockI4<128>>(in, blocks, num_elements, encode_i4<128>);
}

void dequantize_i8_g128(const std::byte* blocks, float* out, int64_t num_elements) {
  for_each_block<BlockI8>(blocks, out, num_elements, decode_i8);
}
void quantize_i8_g128(const float* in, std::byte* blocks, int64_t num_elements) {
  for_each_block<BlockI8>(in, blocks, num_elements, encode_i8);
}

}  // namespace quire
