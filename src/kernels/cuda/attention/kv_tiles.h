// K and V tiles of the CUDA table. kernels.h (KvLayer) defines the places of tiles and the meaning of codes and scales.
// Inside a tile this table has its own layout, the same for K and V, with Q5_0 for the codes of five bits of K:
//   codes [kKvBlockSize positions][kv_row_bytes], dimensions in order; then of Q5_0 the fifth bits, a 32-bit word for
//   each group [kKvBlockSize positions][groups]; then of quantised formats f16 scales [kKvBlockSize positions][scales].
// Quantised formats round head_dim up to whole groups of kKvGroup. Codes are stored unsigned, and in an order in which
// a shift, a mask and a subtraction convert pairs of neighbouring dimensions to pairs of f16:
//   E4M3  as it is, no scale
//   Q8_0  code + 128; of four dimensions, bytes in the order 0, 2, 1, 3
//   Q4_0  code + 8; of eight dimensions d, nibble (d % 2) * 4 + d / 2 of a 32-bit word, low nibble first
//   Q5_0  code + 16; its low bits as those of Q4_0; of eight dimensions, the fifth bits in the same order in a byte
#pragma once

#include "kernels/cuda/matmul/matrix_loads.h"

namespace quire {

// The format of the codes of K in this file.
__host__ __device__ constexpr Format k_codes(Format format) { return format == Format::kQ4_0 ? Format::kQ5_0 : format; }

__host__ __device__ constexpr bool kv_has_scales(Format format) {
  return format == Format::kQ8_0 || format == Format::kQ5_0 || format == Format::kQ4_0;
}
__host__ __device__ constexpr int kv_groups(int head_dim) { return (head_dim + kKvGroup - 1) / kKvGroup; }

// Neighbouring groups that share a scale.
__host__ __device__ constexpr int kv_sharing_groups(Format format) { return format == Format::kQ8_0 ? 1 : 2; }
__host__ __device__ constexpr int kv_scales(Format format, int head_dim) {
  const int sharing = kv_sharing_groups(format);
  return kv_has_scales(format) ? (kv_groups(head_dim) + sharing - 1) / sharing : 0;
}

// The bytes of one position's codes, without fifth bits: a multiple of 16, or of 8 for E4M3.
__host__ __device__ constexpr int kv_row_bytes(Format format, int head_dim) {
  switch (format) {
    case Format::kF32: return head_dim * 4;
    case Format::kF8_E4M3: return head_dim;
    case Format::kQ8_0: return kv_groups(head_dim) * kKvGroup;
    case Format::kQ5_0:
    case Format::kQ4_0: return kv_groups(head_dim) * kKvGroup / 2;
    default: return head_dim * 2;
  }
}

// The bytes of one position's fifth bits.
__host__ __device__ constexpr int kv_fifth_bytes(Format format, int head_dim) {
  return format == Format::kQ5_0 ? kv_groups(head_dim) * 4 : 0;
}

// Equals k_tile_bytes and v_tile_bytes of kernels.h, but also runs on the device.
__host__ __device__ constexpr int kv_stored_bytes(Format format, int head_dim) {
  return kKvBlockSize *
         (kv_row_bytes(format, head_dim) + kv_fifth_bytes(format, head_dim) + kv_scales(format, head_dim) * 2);
}

// The offset in the tile of the fifth bits of a position.
__host__ __device__ constexpr int kv_fifth_offset(Format format, int head_dim, int position) {
  return kKvBlockSize * kv_row_bytes(format, head_dim) + position * kv_fifth_bytes(format, head_dim);
}

// The offset in the tile of the scale of a group of a position.
__host__ __device__ constexpr int kv_scale_offset(Format format, int head_dim, int position, int group) {
  return kKvBlockSize * (kv_row_bytes(format, head_dim) + kv_fifth_bytes(format, head_dim)) +
         (position * kv_scales(format, head_dim) + group / kv_sharing_groups(format)) * 2;
}

// The place of a dimension's code among four (Q8_0: byte) or eight (else: nibble and fifth bit).
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
      *reinterpret_cast<const uint16_t*>(tile + kv_scale_offset(format, head_dim, position, d / kKvGroup)));
  if (format == Format::kQ8_0) {
    const int code = reinterpret_cast<const uint8_t*>(row)[d / 4 * 4 + kv_byte_place(d)];
    return scale * static_cast<float>(code - 128);
  }
  const uint32_t word = reinterpret_cast<const uint32_t*>(row)[d / 8];
  const auto nibble = static_cast<int>(word >> (4 * kv_nibble_place(d)) & 15u);
  if (format == Format::kQ4_0) return scale * static_cast<float>(nibble - 8);
  const auto byte = reinterpret_cast<const uint8_t*>(tile + kv_fifth_offset(format, head_dim, position))[d / 8];
  return scale * static_cast<float>((nibble | (byte >> kv_nibble_place(d) & 1) << 4) - 16);
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
      *reinterpret_cast<const uint16_t*>(tile + kv_scale_offset(format, head_dim, position, chunk * 8 / kKvGroup));
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
  const uint32_t word = reinterpret_cast<const uint32_t*>(row)[chunk];
  if (format == Format::kQ5_0) {
    constexpr uint32_t kBias = 0x64106410u;  // 1024 + 16
    constexpr uint32_t kFifth = 0x00100010u;
    const uint32_t byte = reinterpret_cast<const uint8_t*>(tile + kv_fifth_offset(format, head_dim, position))[chunk];
    const uint32_t bits = byte | byte << 12;  // bit i is that of the pair's first dimension, bit i + 16 of its second
    return make_uint4(scaled((word & kMask) | (bits << 4 & kFifth), kBias),
                      scaled((word >> 4 & kMask) | (bits << 3 & kFifth), kBias),
                      scaled((word >> 8 & kMask) | (bits << 2 & kFifth), kBias),
                      scaled((word >> 12 & kMask) | (bits << 1 & kFifth), kBias));
  }
  constexpr uint32_t kBias = 0x64086408u;  // 1024 + 8
  return make_uint4(scaled(word & kMask, kBias), scaled(word >> 4 & kMask, kBias), scaled(word >> 8 & kMask, kBias),
                    scaled(word >> 12 & kMask, kBias));
}

}  // namespace quire
