#include "kernels/block_codes.h"

#include <bit>
#include <cstring>

#include "base/check.h"

namespace quire {
namespace {

constexpr uint16_t kNegative = 0x8000;  // the sign of an f16

// Sixteen bytes at a time; every shift is masked, so no bit moves from one byte to the next.
using Sixteen = uint64_t __attribute__((vector_size(16)));
constexpr uint64_t kEachByte = 0x0101010101010101u;

inline Sixteen load_sixteen(const void* from) {
  Sixteen bytes;
  std::memcpy(&bytes, from, sizeof bytes);
  return bytes;
}

inline Sixteen some_bits(const uint8_t* q, int shift, int bits) {
  return (load_sixteen(q) >> shift) & (kEachByte * ((1u << bits) - 1));
}

// codes[i] = `bits` bits of q[i], from bit `shift` on; count is a multiple of 16.
inline void read_bits(const uint8_t* q, int count, int shift, int bits, uint8_t* codes) {
  for (int i = 0; i < count; i += 16) {
    const Sixteen low = some_bits(q + i, shift, bits);
    std::memcpy(codes + i, &low, sizeof low);
  }
}

// Adds such bits to the codes, above their lowest `above` bits.
inline void add_bits(const uint8_t* q, int count, int shift, int bits, int above, uint8_t* codes) {
  for (int i = 0; i < count; i += 16) {
    const Sixteen sum = load_sixteen(codes + i) | (some_bits(q + i, shift, bits) << above);
    std::memcpy(codes + i, &sum, sizeof sum);
  }
}

inline void read_nibbles(const uint8_t* q, uint8_t* codes) {
  read_bits(q, 16, 0, 4, codes);
  read_bits(q, 16, 4, 4, codes + 16);
}

inline void read_fifth_bits(const uint8_t* high, uint8_t* codes) {
  for (int i = 0; i < 4; i += 2) {
    // Isolates bit j of a byte in byte j, then moves it to the lowest bit.
    const Sixteen alone = Sixteen{high[i] * kEachByte, high[i + 1] * kEachByte} & 0x8040201008040201u;
    const Sixteen bits = ((alone + 0x7f * kEachByte) >> 7) & kEachByte;
    const Sixteen sum = load_sixteen(codes + 8 * i) | (bits << 4);
    std::memcpy(codes + 8 * i, &sum, sizeof sum);
  }
}

void read_group(const BlockQ8_0& block, uint8_t* codes, uint16_t&) {
  for (int i = 0; i < 32; i += 16) {
    const Sixteen flipped = load_sixteen(block.q + i) ^ (0x80 * kEachByte);
    std::memcpy(codes + i, &flipped, sizeof flipped);
  }
}
void read_group(const BlockQ4_0& block, uint8_t* codes, uint16_t&) { read_nibbles(block.q, codes); }
void read_group(const BlockIQ4_NL& block, uint8_t* codes, uint16_t&) { read_nibbles(block.q, codes); }
void read_group(const BlockQ4_1& block, uint8_t* codes, uint16_t& min) {
  min = block.m;
  read_nibbles(block.q, codes);
}
void read_group(const BlockQ5_0& block, uint8_t* codes, uint16_t&) {
  read_nibbles(block.q, codes);
  read_fifth_bits(block.high, codes);
}
void read_group(const BlockQ5_1& block, uint8_t* codes, uint16_t& min) {
  min = block.m;
  read_nibbles(block.q, codes);
  read_fifth_bits(block.high, codes);
}

template <typename Block>
void read_groups(const std::byte* row, int64_t first, int64_t count, BlockCodes& out) {
  const auto* block = reinterpret_cast<const Block*>(row) + first / 32;
  for (int g = 0; g < count / 32; ++g) {
    out.scale[g] = block[g].d;
    read_group(block[g], out.codes + 32 * g, out.min[g]);
  }
}

void read_two_bits(const uint8_t* q, uint8_t* codes) {
  for (int g = 0; g < 8; ++g) read_bits(q + 32 * (g / 4), 32, 2 * (g % 4), 2, codes + 32 * g);
}

void read_pair_nibbles(const uint8_t* q, uint8_t* codes) {
  for (int g = 0; g < 8; ++g) read_bits(q + 32 * (g / 2), 32, 4 * (g % 2), 4, codes + 32 * g);
}

void read_block(const BlockQ2_K& block, BlockCodes& out) {
  read_two_bits(block.q, out.codes);
  out.min[0] = block.dmin ^ kNegative;
  for (int g = 0; g < 16; ++g) {
    out.sub_scale[g] = static_cast<int8_t>(block.scales[g] & 15);
    out.sub_min[g] = static_cast<int8_t>(block.scales[g] >> 4);
  }
}

void read_block(const BlockQ3_K& block, BlockCodes& out) {
  read_two_bits(block.q, out.codes);
  for (int g = 0; g < 8; ++g) add_bits(block.high, 32, g, 1, 2, out.codes + 32 * g);
  for (int g = 0; g < 16; ++g) {
    const int low = (block.scales[g % 8] >> (4 * (g / 8))) & 15;
    const int high = (block.scales[8 + g % 4] >> (2 * (g / 4))) & 3;
    out.sub_scale[g] = static_cast<int8_t>((low | (high << 4)) - 32);
  }
}

void read_scales_and_mins(const uint8_t* scales, uint16_t dmin, BlockCodes& out) {
  out.min[0] = dmin ^ kNegative;
  for (int g = 0; g < 4; ++g) {
    out.sub_scale[g] = static_cast<int8_t>(scales[g] & 63);
    out.sub_min[g] = static_cast<int8_t>(scales[4 + g] & 63);
    out.sub_scale[4 + g] = static_cast<int8_t>((scales[8 + g] & 15) | ((scales[g] >> 6) << 4));
    out.sub_min[4 + g] = static_cast<int8_t>((scales[8 + g] >> 4) | ((scales[4 + g] >> 6) << 4));
  }
}

void read_block(const BlockQ4_K& block, BlockCodes& out) {
  read_pair_nibbles(block.q, out.codes);
  read_scales_and_mins(block.scales, block.dmin, out);
}

void read_block(const BlockQ5_K& block, BlockCodes& out) {
  read_pair_nibbles(block.q, out.codes);
  for (int g = 0; g < 8; ++g) add_bits(block.high, 32, g, 1, 4, out.codes + 32 * g);
  read_scales_and_mins(block.scales, block.dmin, out);
}

void read_block(const BlockQ6_K& block, BlockCodes& out) {
  for (int g = 0; g < 8; ++g) {
    const int half = g / 4;
    read_bits(block.low + 64 * half + 32 * (g % 2), 32, g % 4 / 2 * 4, 4, out.codes + 32 * g);
    add_bits(block.high + 32 * half, 32, 2 * (g % 4), 2, 4, out.codes + 32 * g);
  }
  for (int g = 0; g < 16; ++g) out.sub_scale[g] = block.scales[g];
}

void read_block(const BlockIQ4_XS& block, BlockCodes& out) {
  for (int g = 0; g < 8; ++g) {
    read_nibbles(block.q + 16 * g, out.codes + 32 * g);
    const int low = (block.scales_low[g / 2] >> (4 * (g % 2))) & 15;
    const int high = (block.scales_high >> (2 * g)) & 3;
    out.sub_scale[g] = static_cast<int8_t>((low | (high << 4)) - 32);
  }
}

void read_blocks_mxfp4(const std::byte* row, int64_t first, int64_t count, BlockCodes& out) {
  const auto* block = reinterpret_cast<const BlockMXFP4*>(row) + first / 32;
  for (int g = 0; g < count / 32; ++g) {
    out.scale[g] = block[g].e;
    read_nibbles(block[g].q, out.codes + 32 * g);
  }
}

template <int kElements>
void read_blocks_i4(const std::byte* row, int64_t first, int64_t count, BlockCodes& out) {
  const auto* block = reinterpret_cast<const BlockI4<kElements>*>(row) + first / kElements;
  for (int b = 0; b < count / kElements; ++b) {
    out.scale[b] = block[b].d;
    out.zero[b] = block[b].zero;
    for (int g = 0; g < kElements / 32; ++g) read_nibbles(block[b].q + 16 * g, out.codes + kElements * b + 32 * g);
  }
}

void read_blocks_i8(const std::byte* row, int64_t first, int64_t count, BlockCodes& out) {
  constexpr int kElements = BlockI8::kElements;
  const auto* block = reinterpret_cast<const BlockI8*>(row) + first / kElements;
  for (int b = 0; b < count / kElements; ++b) {
    out.scale[b] = block[b].d;
    for (int i = 0; i < kElements; ++i) out.codes[kElements * b + i] = static_cast<uint8_t>(block[b].q[i] + 128);
  }
}

void read_blocks_s8(const std::byte* row, int64_t first, int64_t count, BlockCodes& out) {
  constexpr int kElements = BlockS8::kElements;
  const auto* block = reinterpret_cast<const BlockS8*>(row) + first / kElements;
  for (int b = 0; b < count / kElements; ++b) {
    out.scale[b] = block[b].d;
    uint8_t* const codes = out.codes + kElements * b;
    std::memset(codes, 128, kElements);
    uint64_t kept = 0;
    std::memcpy(&kept, block[b].kept, sizeof kept);  // little endian
    for (int i = 0; i < BlockS8::kKept && kept != 0; ++i, kept &= kept - 1) {
      codes[std::countr_zero(kept)] = static_cast<uint8_t>(block[b].q[i] + 128);
    }
  }
}

template <typename Block>
void read_one(const std::byte* row, int64_t first, BlockCodes& out) {
  const Block& block = reinterpret_cast<const Block*>(row)[first / 256];
  out.scale[0] = block.d;
  read_block(block, out);
}

}  // namespace

const CodeScheme* find_code_scheme(Format format) {
  for (const CodeFormat& row : kCodeFormats) {
    if (row.format == format) return &row.scheme;
  }
  return nullptr;
}

bool is_multiplied_packed(Format format, Activations activations) {
  if (find_code_scheme(format) != nullptr) return true;
  return activations == Activations::kBf16 &&
         (format == Format::kF16 || format == Format::kBF16 || format == Format::kF8_G128);
}

void read_block_codes(Format format, const std::byte* row, int64_t first, int64_t count, BlockCodes& out) {
  out = {};
  switch (format) {
    case Format::kQ8_0: return read_groups<BlockQ8_0>(row, first, count, out);
    case Format::kQ4_0: return read_groups<BlockQ4_0>(row, first, count, out);
    case Format::kQ4_1: return read_groups<BlockQ4_1>(row, first, count, out);
    case Format::kQ5_0: return read_groups<BlockQ5_0>(row, first, count, out);
    case Format::kQ5_1: return read_groups<BlockQ5_1>(row, first, count, out);
    case Format::kIQ4_NL: return read_groups<BlockIQ4_NL>(row, first, count, out);
    case Format::kQ2_K: return read_one<BlockQ2_K>(row, first, out);
    case Format::kQ3_K: return read_one<BlockQ3_K>(row, first, out);
    case Format::kQ4_K: return read_one<BlockQ4_K>(row, first, out);
    case Format::kQ5_K: return read_one<BlockQ5_K>(row, first, out);
    case Format::kQ6_K: return read_one<BlockQ6_K>(row, first, out);
    case Format::kIQ4_XS: return read_one<BlockIQ4_XS>(row, first, out);
    case Format::kMXFP4: return read_blocks_mxfp4(row, first, count, out);
    case Format::kI4_G32: return read_blocks_i4<32>(row, first, count, out);
    case Format::kI4_G128: return read_blocks_i4<128>(row, first, count, out);
    case Format::kI8_G128: return read_blocks_i8(row, first, count, out);
    case Format::kS8_G64: return read_blocks_s8(row, first, count, out);
    default: CHECK(!"a block format");
  }
}

}  // namespace quire
