// Q4_0, Q4_1, Q5_0, Q5_1: 32 unsigned numbers of four or five bits and a scale. The _0 formats are centred, the element
// of the largest magnitude gets the lowest number (so the scale may be negative); the _1 formats span minimum to
// maximum. Rounding follows ggml, so that files made by either are the same.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "tensor/formats/conversions.h"
#include "tensor/half.h"

namespace quire {
namespace {

struct Codes {
  uint8_t q[32] = {};
};

template <typename Block>
constexpr bool kHasMinimum = requires(Block block) {
  block.m;
};
template <typename Block>
constexpr bool kHasFifthBit = requires(Block block) {
  block.high;
};
template <typename Block>
constexpr int kLevels = kHasFifthBit<Block> ? 32 : 16;

template <typename Block>
Codes unpack(const Block& block) {
  Codes codes;
  for (int i = 0; i < 16; ++i) {
    codes.q[i] = block.q[i] & 15;
    codes.q[i + 16] = block.q[i] >> 4;
  }
  if constexpr (kHasFifthBit<Block>) {
    for (int i = 0; i < 32; ++i) {
      codes.q[i] = static_cast<uint8_t>(codes.q[i] | (((block.high[i / 8] >> (i % 8)) & 1) << 4));
    }
  }
  return codes;
}

template <typename Block>
void pack(const Codes& codes, Block& block) {
  for (int i = 0; i < 16; ++i) {
    block.q[i] = static_cast<uint8_t>((codes.q[i] & 15) | ((codes.q[i + 16] & 15) << 4));
  }
  if constexpr (kHasFifthBit<Block>) {
    for (int i = 0; i < 32; ++i) {
      block.high[i / 8] = static_cast<uint8_t>(block.high[i / 8] | ((codes.q[i] >> 4) << (i % 8)));
    }
  }
}

template <typename Block>
void decode(const Block& block, float* out) {
  const Codes codes = unpack(block);
  const float d = f16_to_f32(block.d);
  if constexpr (kHasMinimum<Block>) {
    const float m = f16_to_f32(block.m);
    for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(codes.q[i]) + m;
  } else {
    constexpr int kZero = kLevels<Block> / 2;
    for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(codes.q[i] - kZero);
  }
}

template <typename Block>
Block pack(const BlockParts& parts) {
  Block block = {};
  block.d = parts.d;
  if constexpr (kHasMinimum<Block>) block.m = parts.minimum;
  Codes codes;
  for (int i = 0; i < 32; ++i) codes.q[i] = static_cast<uint8_t>(parts.codes[i]);
  pack(codes, block);
  return block;
}

uint8_t truncate_within(float value, int high) {
  return static_cast<uint8_t>(round_within(std::trunc(value), 0, static_cast<float>(high)));
}

template <typename Block>
Block encode(const float* in) {
  Block block = {};
  Codes codes;
  if constexpr (kHasMinimum<Block>) {
    const auto [low, high] = std::minmax_element(in, in + 32);
    const float d = (*high - *low) / (kLevels<Block> - 1);
    block.d = f32_to_f16(d);
    block.m = f32_to_f16(*low);
    if (block.d == 0) return block;
    const float inverse = 1 / d;
    for (int i = 0; i < 32; ++i) codes.q[i] = truncate_within((in[i] - *low) * inverse + 0.5f, kLevels<Block> - 1);
  } else {
    constexpr int kZero = kLevels<Block> / 2;
    const float largest = *std::max_element(in, in + 32, [](float a, float b) { return std::abs(a) < std::abs(b); });
    const float d = largest / -kZero;
    block.d = f32_to_f16(d);
    const bool vanishes = (block.d & 0x7fff) == 0;
    const float inverse = vanishes ? 0 : 1 / d;
    for (int i = 0; i < 32; ++i) codes.q[i] = truncate_within(in[i] * inverse + (kZero + 0.5f), kLevels<Block> - 1);
  }
  pack(codes, block);
  return block;
}

}  // namespace

FormatRows q4_q5_formats() {
  static constexpr WeightFormat kRows[] = {
      block_format<BlockQ4_0, decode, encode>(Format::kQ4_0, "Q4_0"),
      block_format<BlockQ4_1, decode, encode>(Format::kQ4_1, "Q4_1"),
      block_format<BlockQ5_0, decode, encode>(Format::kQ5_0, "Q5_0"),
      block_format<BlockQ5_1, decode, encode>(Format::kQ5_1, "Q5_1"),
  };
  return kRows;
}

PackRows q4_q5_packers() {
  static constexpr PackRow kRows[] = {
      pack_row<BlockQ4_0, pack<BlockQ4_0>>(Format::kQ4_0),
      pack_row<BlockQ4_1, pack<BlockQ4_1>>(Format::kQ4_1),
      pack_row<BlockQ5_0, pack<BlockQ5_0>>(Format::kQ5_0),
      pack_row<BlockQ5_1, pack<BlockQ5_1>>(Format::kQ5_1),
  };
  return kRows;
}

}  // namespace quire
