// K and V tiles of the CUDA table. kernels.h (KvLayer) defines the places of tiles and the meaning of codes and scales.
// Inside a tile this table has its own layout, the same for K and V:
//   codes [kKvBlockSize positions][kv_row_bytes], dimensions in order; then, of quantised formats, f16 scales
//   [kKvBlockSize positions][groups of kKvScaleGroup dimensions].
// Quantised formats round head_dim up to whole groups. Codes are stored unsigned, and in an order in which a shift, a
// mask and a subtraction convert pairs of neighbouring dimensions to pairs of f16:
//   E4M3  as it is, no scale
//   Q8_0  code + 128; of four dimensions, bytes in the order 0, 2, 1, 3
//   Q4_0  code + 8; of eight dimensions d, nibble (d % 2) * 4 + d / 2 of a 32-bit word, low nibble first
#pragma once

#include "kernels/cuda/matmul/matrix_loads.h"

namespace quire {

__host__ __device__ constexpr bool kv_has_scales(Format format) {
  return format == Format::kQ8_0 || format == Format::kQ4_0;
}
__host__ __device__ constexpr int kv_groups(int head_dim) { return (head_dim + kKvScaleGroup - 1) / kKvScaleGroup; }

// The bytes of one position's codes: a multiple of 16, or of 8 for E4M3.
__host__ __device__ constexpr int kv_row_bytes(Format format, int head_dim) {
  switch (format) {
    case Format::kF32: return head_dim * 4;
    case Format::kF8_E4M3: return head_dim;
    case Format::kQ8_0: return kv_groups(head_dim) * kKvScaleGroup;
    case Format::kQ4_0: return kv_groups(head_dim) * kKvScaleGroup / 2;
    default: return head_dim * 2;
  }
}

// Equals kv_tile_bytes of kernels.h, but also runs on the device.
__host__ __device__ constexpr int kv_stored_bytes(Format format, int head_dim) {
  const int scale_bytes = kv_has_scales(format) ? kv_groups(head_dim) * 2 : 0;
  return kKvBlockSize * (kv_row_bytes(format, head_dim) + scale_bytes);
}

// The offset in the tile of the scale of a group of a position.
__host__ __device__ constexpr int kv_scale_offset(Format format, int head_dim, int position, int group) {
  return kKvBlockSize * kv_row_bytes(format, head_dim) + (position * kv_groups(head_dim) + group) * 2;
}

// The place of a dimension's code among four (Q8_0: byte) or eight (Q4_0: nibble).
__host__ __device__ constexpr int kv_byte_place(int dimension) { return dimension % 2 * 2 + dimension % 4 / 2; }
__host__ __device__ constexpr int kv_nibble_place(int dimension) { return dimension % 2 * 4 + dimension % 8 / 2; }

// The value of one element of a tile.
__host__ __device__ __forceinline__ float kv_value(Format format, const std::byte* tile, int head_dim, int position,
                                                   int d) {
  const std::byte* row = tile + position * kv_row_bytes(format, head_dim);
  if (format == Format::kF32) return reinterpret_cast<const float*>(row)[d];
  if (format == Format::kF16) return f16_to_float(reinterpret_cast<const uint16_t*>(row)[d]);
  if (format == Format::kBF16) return bf16_to_float(reinterpret_cast<const uint16_t*>(row)[d]);
  if (format == Format::kF8_E4M3) return e4m3_to_float(reinterpret_cast<const uint8_t*>(row)[d]);
  const auto scale = f16_to_float(
      *reinterpret_cast<const uint16_t*>(tile + kv_scale_offset(format, head_dim, position, d / kKvScaleGroup)));
  if (format == Format::kQ8_0) {
    const int code = reinterpret_cast<const uint8_t*>(row)[d / 4 * 4 + kv_byte_place(d)];
    return scale * static_cast<float>(code - 128);
  }
  const uint32_t word = reinterpret_cast<const uint32_t*>(row)[d / 8];
  return scale * static_cast<float>(static_cast<int>(word >> (4 * kv_nibble_place(d)) & 15u) - 8);
}

// Dimensions [8 * chunk, 8 * chunk + 8) of a position as f16: code times scale, rounded once. `tile` is a copy in
// shared memory. Numbers beyond the range of f16 become infinite.
__device__ __forceinline__ uint4 kv_eight_f16(Format format, const std::byte* tile, int head_dim, int position,
                                              int chunk) {
  const std::byte* row = tile + position * kv_row_bytes(format, head_dim);
  if (format == Format::kF16) return *reinterpret_cast<const uint4*>(row + chunk * 16);
  if (format == Format::kBF16) {
    const uint4 eight = *reinterpret_cast<const uint4*>(row + chunk * 16);
    const auto to_f16 = [](uint32_t pair) {
      return pack_f16(bf16_to_float(static_cast<uint16_t>(pair)), bf16_to_float(static_cast<uint16_t>(pair >> 16)));
    };
    return make_uint4(to_f16(eight.x), to_f16(eight.y), to_f16(eight.z), to_f16(eight.w));
  }
  if (format == Format::kF8_E4M3) {
    const uint2 words = *reinterpret_cast<const uint2*>(row + chunk * 8);
    return make_uint4(e4m3_pair_to_f16(words.x), e4m3_pair_to_f16(words.x >> 16), e4m3_pair_to_f16(words.y),
                      e4m3_pair_to_f16(words.y >> 16));
  }
  const uint32_t half =
      *reinterpret_cast<const uint16_t*>(tile + kv_scale_offset(format, head_dim, position, chunk * 8 / kKvScaleGroup));
  const uint32_t scale = half | half << 16;
  // 0x6400 is 1024 as f16, whose unit in the last place is 1.
  const auto scaled = [scale](uint32_t pair, uint32_t bias) {
    return mul_f16_pair(sub_f16_pair(pair | 0x64006400u, bias), scale);
  };
  if (format == Format::kQ8_0) {
    constexpr uint32_t kMask = 0x00ff00ffu;
    constexpr uint32_t kBias = 0x64806480u;  // 1024 + 128
    const uint2 words = *reinterpret_cast<const uint2*>(row + chunk * 8);
    return make_uint4(scaled(words.x & kMask, kBias), scaled(words.x >> 8 & kMask, kBias),
                      scaled(words.y & kMask, kBias), scaled(words.y >> 8 & kMask, kBias));
  }
  constexpr uint32_t kMask = 0x000f000fu;
  constexpr uint32_t kBias = 0x64086408u;  // 1024 + 8
  const uint32_t word = reinterpret_cast<const uint32_t*>(row)[chunk];
  return make_uint4(scaled(word & kMask, kBias), scaled(word >> 4 & kMask, kBias), scaled(word >> 8 & kMask, kBias),
                    scaled(word >> 12 & kMask, kBias));
}

}  // namespace quire
