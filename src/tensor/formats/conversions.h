// The conversions that the table in format.cpp points to, one pair per format, and the loops that turn a function of
// one block into one of many. The contract of every pair is WeightFormat's.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/check.h"
#include "tensor/formats/blocks.h"

namespace quire {

#define QUIRE_DECLARE_CONVERSIONS(suffix)                                              \
  void dequantize_##suffix(const std::byte* blocks, float* out, int64_t num_elements); \
  void quantize_##suffix(const float* in, std::byte* blocks, int64_t num_elements)
QUIRE_DECLARE_CONVERSIONS(f32);
QUIRE_DECLARE_CONVERSIONS(f16);
QUIRE_DECLARE_CONVERSIONS(bf16);
QUIRE_DECLARE_CONVERSIONS(q8_0);
QUIRE_DECLARE_CONVERSIONS(q4_0);
QUIRE_DECLARE_CONVERSIONS(q4_1);
QUIRE_DECLARE_CONVERSIONS(q5_0);
QUIRE_DECLARE_CONVERSIONS(q5_1);
QUIRE_DECLARE_CONVERSIONS(q2_k);
QUIRE_DECLARE_CONVERSIONS(q3_k);
QUIRE_DECLARE_CONVERSIONS(q4_k);
QUIRE_DECLARE_CONVERSIONS(q5_k);
QUIRE_DECLARE_CONVERSIONS(q6_k);
QUIRE_DECLARE_CONVERSIONS(iq4_nl);
QUIRE_DECLARE_CONVERSIONS(iq4_xs);
QUIRE_DECLARE_CONVERSIONS(mxfp4);
QUIRE_DECLARE_CONVERSIONS(i4_g32);
QUIRE_DECLARE_CONVERSIONS(i4_g128);
QUIRE_DECLARE_CONVERSIONS(i8_g128);
QUIRE_DECLARE_CONVERSIONS(f8_g128);
#undef QUIRE_DECLARE_CONVERSIONS

template <typename Block>
void for_each_block(const std::byte* blocks, float* out, int64_t num_elements, void (*decode)(const Block&, float*)) {
  DCHECK(num_elements % Block::kElements == 0);
  const auto* block = reinterpret_cast<const Block*>(blocks);
  for (int64_t i = 0; i < num_elements; i += Block::kElements) decode(*block++, out + i);
}

template <typename Block>
void for_each_block(const float* in, std::byte* blocks, int64_t num_elements, Block (*encode)(const float*)) {
  DCHECK(num_elements % Block::kElements == 0);
  auto* block = reinterpret_cast<Block*>(blocks);
  for (int64_t i = 0; i < num_elements; i += Block::kElements) *block++ = encode(in + i);
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
