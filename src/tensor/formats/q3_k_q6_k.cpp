// Q3_K and Q6_K: 16 groups of 16 signed codes, each group with an integer scale, one f16 scale above them.
#include <array>

#include "tensor/formats/conversions.h"
#include "tensor/formats/scale_search.h"
#include "tensor/half.h"

namespace quire {
namespace {

constexpr int kGroups = 16;
constexpr int kGroupElements = 16;

int scale_of(const BlockQ3_K& block, int group) {
  const int low = (block.scales[group % 8] >> (4 * (group / 8))) & 15;
  const int high = (block.scales[8 + group % 4] >> (2 * (group / 4))) & 3;
  return (low | (high << 4)) - 32;
}

void store_scale(BlockQ3_K& block, int group, int scale) {
  const int bits = scale + 32;
  uint8_t& low = block.scales[group % 8];
  uint8_t& high = block.scales[8 + group % 4];
  low = static_cast<uint8_t>(low | ((bits & 15) << (4 * (group / 8))));
  high = static_cast<uint8_t>(high | ((bits >> 4) << (2 * (group / 4))));
}

void decode_q3_k(const BlockQ3_K& block, float* out) {
  const float d = f16_to_f32(block.d);
  for (int i = 0; i < 256; ++i) {
    const float scale = d * static_cast<float>(scale_of(block, i / kGroupElements));
    const int low = (block.q[32 * (i / 128) + i % 32] >> (2 * (i % 128 / 32))) & 3;
    const int high = (block.high[i % 32] >> (i / 32)) & 1;
    out[i] = scale * static_cast<float>(low + 4 * high - 4);
  }
}

int scale_of(const BlockQ6_K& block, int group) { return block.scales[group]; }
void store_scale(BlockQ6_K& block, int group, int scale) { block.scales[group] = static_cast<int8_t>(scale); }

void decode_q6_k(const BlockQ6_K& block, float* out) {
  const float d = f16_to_f32(block.d);
  for (int i = 0; i < 256; ++i) {
    const float scale = d * static_cast<float>(scale_of(block, i / kGroupElements));
    const int half = i / 128;
    const int r = i % 128;
    const int low = (block.low[64 * half + r % 64] >> (4 * (r / 64))) & 15;
    const int high = (block.high[32 * half + r % 32] >> (2 * (r / 32))) & 3;
    out[i] = scale * static_cast<float>((low | (high << 4)) - 32);
  }
}

// Chooses d and the group scales of `block` and gives every element its code.
template <typename Block>
std::array<int, 256> choose_codes(const float* in, IntegerLevels levels, float spread, int lowest_scale, Block& block) {
  std::array<float, kGroups> wanted;
  for (int g = 0; g < kGroups; ++g) {
    wanted[static_cast<size_t>(g)] = search_scale(std::span(in + g * kGroupElements, kGroupElements), levels, spread);
  }
  block.d = f32_to_f16(largest_magnitude(wanted) / static_cast<float>(lowest_scale));
  const float d = f16_to_f32(block.d);
  std::array<int, 256> codes = {};
  for (int g = 0; g < kGroups; ++g) {
    const std::span x(in + g * kGroupElements, kGroupElements);
    const int scale = d == 0 ? 0 : best_integer_scale(x, wanted[static_cast<size_t>(g)], d, lowest_scale, levels);
    store_scale(block, g, scale);
    const float step = d * static_cast<float>(scale);
    for (int i = 0; i < kGroupElements; ++i) {
      codes[static_cast<size_t>(g * kGroupElements + i)] =
          step == 0 ? 0 : static_cast<int>(levels.nearest(x[static_cast<size_t>(i)] / step));
    }
  }
  return codes;
}

void store_code(BlockQ3_K& block, int i, int bits) {
  uint8_t& low = block.q[32 * (i / 128) + i % 32];
  low = static_cast<uint8_t>(low | ((bits & 3) << (2 * (i % 128 / 32))));
  block.high[i % 32] = static_cast<uint8_t>(block.high[i % 32] | ((bits >> 2) << (i / 32)));
}

void store_code(BlockQ6_K& block, int i, int bits) {
  const int half = i / 128;
  const int r = i % 128;
  uint8_t& low = block.low[64 * half + r % 64];
  uint8_t& high = block.high[32 * half + r % 32];
  low = static_cast<uint8_t>(low | ((bits & 15) << (4 * (r / 64))));
  high = static_cast<uint8_t>(high | ((bits >> 4) << (2 * (r / 32))));
}

template <typename Block>
Block pack(const BlockParts& parts) {
  Block block = {};
  block.d = parts.d;
  for (int g = 0; g < kGroups; ++g) store_scale(block, g, parts.scales[g]);
  for (int i = 0; i < 256; ++i) store_code(block, i, parts.codes[i]);
  return block;
}

BlockQ3_K encode_q3_k(const float* in) {
  BlockQ3_K block = {};
  const auto codes = choose_codes(in, {-4, 3}, 0.25f, -32, block);
  for (int i = 0; i < 256; ++i) store_code(block, i, codes[static_cast<size_t>(i)] + 4);
  return block;
}

BlockQ6_K encode_q6_k(const float* in) {
  BlockQ6_K block = {};
  const auto codes = choose_codes(in, {-32, 31}, 0.04f, -128, block);
  for (int i = 0; i < 256; ++i) store_code(block, i, codes[static_cast<size_t>(i)] + 32);
  return block;
}

}  // namespace

FormatRows q3_k_q6_k_formats() {
  static constexpr WeightFormat kRows[] = {
      block_format<BlockQ3_K, decode_q3_k, encode_q3_k>(Format::kQ3_K, "Q3_K"),
      block_format<BlockQ6_K, decode_q6_k, encode_q6_k>(Format::kQ6_K, "Q6_K"),
  };
  return kRows;
}

PackRows q3_k_q6_k_packers() {
  static constexpr PackRow kRows[] = {
      pack_row<BlockQ3_K, pack<BlockQ3_K>>(Format::kQ3_K),
      pack_row<BlockQ6_K, pack<BlockQ6_K>>(Format::kQ6_K),
  };
  return kRows;
}

}  // namespace quire
