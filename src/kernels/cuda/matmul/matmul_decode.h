// Converts codes of weights to bf16 fragments of mma.m16n8k16, exactly and with few integer operations: the bits of a
// code are moved into the exponent and mantissa of a bf16, and one fused multiply-add subtracts the offset that this
// adds. Device functions of matmul.
#pragma once

#include "kernels/cuda/device/gpu.h"
#include "kernels/cuda/matmul/matmul_layout.h"
#include "tensor/formats/blocks.h"

namespace quire {

// a * b + c of both halves, rounded once; every use here is exact.
__device__ __forceinline__ uint32_t fma_bf16_pair(uint32_t a, uint32_t b, uint32_t c) {
#ifdef __CUDACC__
  uint32_t d;
  asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
  return d;
#else
  const auto half = [](uint32_t word, int shift) { return bf16_to_float(static_cast<uint16_t>(word >> shift)); };
  return pack_bf16(fmaf(half(a, 0), half(b, 0), half(c, 0)), fmaf(half(a, 16), half(b, 16), half(c, 16)));
#endif
}

// The bytes of {high, low} that the four nibbles of `selector` name, each 0 to 7.
__device__ __forceinline__ uint32_t select_bytes(uint32_t low, uint32_t high, uint32_t selector) {
#ifdef __CUDACC__
  return __byte_perm(low, high, selector);
#else
  const uint64_t bytes = static_cast<uint64_t>(high) << 32 | low;
  uint32_t selected = 0;
  for (int i = 0; i < 4; ++i) {
    selected |= static_cast<uint32_t>(bytes >> (8 * (selector >> (4 * i) & 7)) & 0xff) << (8 * i);
  }
  return selected;
#endif
}

constexpr uint32_t kBf16Ones = 0x3f803f80;
constexpr uint32_t kBf16Signs = 0x80008000;
// 128 in bf16; the last bit of its mantissa has the value 1, so inserting the bits of an integer below 128 adds it.
constexpr uint32_t kBf16Magic = 0x43004300;
constexpr uint32_t kBf16TwoTo120 = 0x7b807b80;  // the factor between the exponent biases of bf16 and E4M3
constexpr uint32_t kBf16TwoTo126 = 0x7e807e80;  // the factor between the exponent biases of bf16 and E2M1

// 128 + zero, which is subtracted from 4-bit integers that were added to 128.
__device__ __forceinline__ uint32_t magic_zero(uint32_t zero) { return kBf16Magic + zero * 0x10001u; }

// Converts two signed bytes, the lower byte of each half of `pair`: 128 plus the low seven bits, minus 128, or minus
// 256 if the sign bit is set.
__device__ __forceinline__ uint32_t int8_pair(uint32_t pair) {
  const uint32_t magnitudes = (pair & 0x007f007fu) | kBf16Magic;
  const uint32_t offsets = (pair & 0x00800080u) | kBf16Magic;
  return fma_bf16_pair(magnitudes, kBf16Ones, offsets ^ kBf16Signs);
}

__device__ __forceinline__ uint32_t e4m3_pair(uint32_t pair) {
  return fma_bf16_pair((pair & 0x00800080u) << 8 | (pair & 0x007f007fu) << 4, kBf16TwoTo120, 0);
}

// Converts four-bit codes at bit 0 and bit 16.
__device__ __forceinline__ uint32_t e2m1_pair(uint32_t pair) {
  return fma_bf16_pair((pair & 0x00080008u) << 12 | (pair & 0x00070007u) << 6, kBf16TwoTo126, 0);
}

// The levels, as bytes, of the four codes in the low 16 bits.
__device__ __forceinline__ uint32_t four_levels(uint32_t codes) {
  constexpr auto word = [](int first) {
    uint32_t bytes = 0;
    for (int i = 0; i < 4; ++i) bytes |= static_cast<uint32_t>(static_cast<uint8_t>(kIQ4Levels[first + i])) << (8 * i);
    return bytes;
  };
  constexpr uint32_t kWords[4] = {word(0), word(4), word(8), word(12)};
  const uint32_t below_eight = select_bytes(kWords[0], kWords[1], codes & 0x7777u);
  const uint32_t from_eight = select_bytes(kWords[2], kWords[3], codes & 0x7777u);
  return select_bytes(below_eight, from_eight, 0x3210u | (codes & 0x8888u) >> 1);
}

// The number of bf16 values whose sum is the weight: one, but two for F16, which has three more bits.
QUIRE_HOST_DEVICE constexpr int num_fragments(TileFormat format) { return format.codes == CodeKind::kF16 ? 2 : 1; }

// Splits two f16 into their truncation to bf16 and the rest.
__device__ __forceinline__ void split_f16_pair(uint32_t pair, uint32_t& kept, uint32_t& rest) {
  const float values[2] = {f16_to_float(static_cast<uint16_t>(pair)), f16_to_float(static_cast<uint16_t>(pair >> 16))};
  float cut[2];
  for (int i = 0; i < 2; ++i) cut[i] = __uint_as_float(__float_as_uint(values[i]) & 0xffff0000u);
  kept = pack_bf16(cut[0], cut[1]);
  rest = pack_bf16(values[0] - cut[0], values[1] - cut[1]);
}

// The lane's fragments of one mma. codes: of the columns of the mma (mma_code_bytes). zeros: magic_zero of the rows g
// and g + 8, of kInt4.
template <TileFormat kFormat>
__device__ __forceinline__ void decode_fragments(const std::byte* codes, int lane, const uint32_t (&zeros)[2],
                                                 uint32_t (&a)[num_fragments(kFormat)][4]) {
  const std::byte* mine = codes + lane * code_bits(kFormat);
  if constexpr (code_bits(kFormat) == 16) {
    const uint4 words = *reinterpret_cast<const uint4*>(mine);
    const uint32_t pairs[4] = {words.x, words.y, words.z, words.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if constexpr (kFormat.codes == CodeKind::kF16) {
        split_f16_pair(pairs[i], a[0][i], a[1][i]);
      } else {
        a[0][i] = pairs[i];
      }
    }
  } else if constexpr (code_bits(kFormat) == 8) {
    const uint2 words = *reinterpret_cast<const uint2*>(mine);
    const uint32_t pairs[4] = {words.x, words.x >> 8, words.y, words.y >> 8};
#pragma unroll
    for (int i = 0; i < 4; ++i) a[0][i] = kFormat.codes == CodeKind::kInt8 ? int8_pair(pairs[i]) : e4m3_pair(pairs[i]);
  } else if constexpr (kFormat.codes == CodeKind::kLevels) {
    const uint32_t word = *reinterpret_cast<const uint32_t*>(mine);
    const uint32_t first = four_levels(word);         // the first elements of a0 to a3
    const uint32_t second = four_levels(word >> 16);  // the second ones
    const uint32_t lower = select_bytes(first, second, 0x5410);
    const uint32_t upper = select_bytes(first, second, 0x7632);
    const uint32_t pairs[4] = {lower, lower >> 8, upper, upper >> 8};
#pragma unroll
    for (int i = 0; i < 4; ++i) a[0][i] = int8_pair(pairs[i]);
  } else {
    const uint32_t word = *reinterpret_cast<const uint32_t*>(mine);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const uint32_t pair = word >> (4 * i);
      if constexpr (kFormat.codes == CodeKind::kE2M1) {
        a[0][i] = e2m1_pair(pair);
      } else {
        a[0][i] = fma_bf16_pair((pair & 0x000f000fu) | kBf16Magic, kBf16Ones, zeros[i % 2] ^ kBf16Signs);
      }
    }
  }
}

// Scale and minimum of `row` (of the tile) for the group at `column` (of the tile).
struct GroupScale {
  float scale;
  float min;
};

__device__ __forceinline__ float f16_at(const std::byte* from) {
  return f16_to_float(*reinterpret_cast<const uint16_t*>(from));
}

// Returns byte - 128 for the byte at `offset`: the byte is inserted at the end of the mantissa of 2^23. It is extracted
// from its word, so that neighbouring groups share one load.
__device__ __forceinline__ float sub_at(const std::byte* tile, int offset) {
  const uint32_t word = *reinterpret_cast<const uint32_t*>(tile + (offset & ~3));
  const uint32_t bits = select_bytes(word, 0x4b000000u, 0x7540u | static_cast<uint32_t>(offset & 3));
  return __uint_as_float(bits) - (0x1p23f + 128.0f);
}

template <TileFormat kFormat>
__device__ __forceinline__ GroupScale group_scale(const std::byte* tile, int row, int column) {
  constexpr TileLayout kLayout = tile_layout(kFormat);
  const int group = row * kLayout.groups + column / kFormat.group;
  if constexpr (kFormat.scales == ScaleKind::kSub) {
    const float scale = f16_at(tile + kLayout.scales + 2 * row) * sub_at(tile, kLayout.sub_scales + group);
    if constexpr (!kFormat.has_min) return {scale, 0.0f};
    return {scale, f16_at(tile + kLayout.mins + 2 * row) * sub_at(tile, kLayout.sub_mins + group)};
  } else if constexpr (kFormat.scales == ScaleKind::kF32) {
    return {*reinterpret_cast<const float*>(tile + kLayout.scales + 4 * group), 0.0f};
  } else if constexpr (kFormat.scales == ScaleKind::kE8M0) {
    const auto e = static_cast<uint32_t>(tile[kLayout.scales + group]);
    return {__uint_as_float(e == 0 ? 0x00400000u : e == 255 ? 0x7fc00000u : e << 23), 0.0f};
  } else {
    const float scale = f16_at(tile + kLayout.scales + 2 * group);
    if constexpr (!kFormat.has_min) return {scale, 0.0f};
    return {scale, f16_at(tile + kLayout.mins + 2 * group)};
  }
}

template <TileFormat kFormat>
__device__ __forceinline__ uint32_t group_zero(const std::byte* tile, int row, int column) {
  if constexpr (!kFormat.has_zeros) return magic_zero(kFormat.zero);
  constexpr TileLayout kLayout = tile_layout(kFormat);
  return magic_zero(static_cast<uint32_t>(tile[kLayout.zeros + row * kLayout.groups + column / kFormat.group]));
}

}  // namespace quire
