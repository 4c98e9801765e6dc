// What the files of formats build their rows of: a function of one block becomes a conversion of many, and a block with
// its two functions becomes a row. The contract of conversions is WeightFormat's.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/check.h"
#include "tensor/formats/blocks.h"
#include "tensor/formats/list.h"

namespace quire {

// The row of a format whose blocks are the struct Block.
template <typename Block, void (*kDecode)(const Block&, float*), Block (*kEncode)(const float*)>
constexpr WeightFormat block_format(Format format, const char* name) {
  return {.format = format,
          .name = name,
          .block_elements = Block::kElements,
          .block_bytes = sizeof(Block),
          .dequantize =
              [](const std::byte* blocks, float* out, int64_t num_elements) {
                DCHECK(num_elements % Block::kElements == 0);
                const auto* block = reinterpret_cast<const Block*>(blocks);
                for (int64_t i = 0; i < num_elements; i += Block::kElements) kDecode(*block++, out + i);
              },
          .quantize =
              [](const float* in, std::byte* blocks, int64_t num_elements) {
                DCHECK(num_elements % Block::kElements == 0);
                auto* block = reinterpret_cast<Block*>(blocks);
                for (int64_t i = 0; i < num_elements; i += Block::kElements) *block++ = kEncode(in + i);
              }};
}

// The row of a format whose blocks are the struct Block, for the list of those that can be packed.
template <typename Block, Block (*kPack)(const BlockParts&)>
constexpr PackRow pack_row(Format format) {
  return {format, [](const BlockParts& parts, std::byte* block) { *reinterpret_cast<Block*>(block) = kPack(parts); }};
}

// Nearest integer within [low, high], still as a float; ties to even, `low` for NaN. Adding 1.5 * 2^23 leaves no bits
// for a fraction, so the addition rounds.
inline float round_within(float value, float low, float high) {
  constexpr float kNoFraction = 0x1.8p23f;
  const float above = value > low ? value : low;
  const float clamped = above < high ? above : high;
  return (clamped + kNoFraction) - kNoFraction;
}

}  // namespace quire
