// The byte layouts of block formats, element by element: first those of GGUF files (ggml's), then those that the loader
// makes of other schemes. Reference conversions and the
// packers of fast kernels read the same structs. A block covers `kElements` consecutive elements of a row; x[i] is what
// element i dequantises to; f16 fields are bit patterns (tensor/half.h). Integers are little endian.
#pragma once

#include <cstdint>

namespace quire {

// x[i] = d * q[i].
struct BlockQ8_0 {
  static constexpr int kElements = 32;
  uint16_t d;  // f16
  int8_t q[32];
};

// x[i] = d * (q[i] - 8). Elements 0..15 are the low nibbles of q[0..15], elements 16..31 the high nibbles.
struct BlockQ4_0 {
  static constexpr int kElements = 32;
  uint16_t d;  // f16
  uint8_t q[16];
};

// x[i] = d * q[i] + m; nibbles as in BlockQ4_0.
struct BlockQ4_1 {
  static constexpr int kElements = 32;
  uint16_t d;  // f16
  uint16_t m;  // f16
  uint8_t q[16];
};

// x[i] = d * (q[i] - 16); low four bits as in BlockQ4_0, the fifth bit of element i is bit i of high (little endian).
struct BlockQ5_0 {
  static constexpr int kElements = 32;
  uint16_t d;  // f16
  uint8_t high[4];
  uint8_t q[16];
};

// x[i] = d * q[i] + m; bits as in BlockQ5_0.
struct BlockQ5_1 {
  static constexpr int kElements = 32;
  uint16_t d;  // f16
  uint16_t m;  // f16
  uint8_t high[4];
  uint8_t q[16];
};

// 16 groups of 16. x[i] = d * (scales[g] & 15) * q[i] - dmin * (scales[g] >> 4), g = i / 16. Element i of half h = i /
// 128 with r = i % 128 is bits 2 * (r / 32) and up of q[32 * h + r % 32].
struct BlockQ2_K {
  static constexpr int kElements = 256;
  uint8_t scales[16];
  uint8_t q[64];
  uint16_t d;     // f16
  uint16_t dmin;  // f16
};

// 16 groups of 16. x[i] = d * (scale(g) - 32) * (q[i] - 4), q of three bits: the low two as in BlockQ2_K, the third is
// bit i / 32 of high[i % 32]. scale(g) has six bits: the low four are nibble g / 8 of scales[g % 8], the high two are
// bits 2 * (g / 4) and up of scales[8 + g % 4].
struct BlockQ3_K {
  static constexpr int kElements = 256;
  uint8_t high[32];
  uint8_t q[64];
  uint8_t scales[12];
  uint16_t d;  // f16
};

// 8 groups of 32. x[i] = d * scale(g) * q[i] - dmin * min(g). Element i of pair p = i / 64 is the low nibble of
// q[32 * p + i % 32] in the first 32 elements of the pair, the high nibble in the second 32. Six-bit scales and mins:
// for g < 4 the low six bits of scales[g] and scales[4 + g]; for g >= 4 the low and the high nibble of scales[4 + g]
// with bits 6..7 of scales[g - 4] and of scales[g] above them.
struct BlockQ4_K {
  static constexpr int kElements = 256;
  uint16_t d;     // f16
  uint16_t dmin;  // f16
  uint8_t scales[12];
  uint8_t q[128];
};

// As BlockQ4_K; the fifth bit of element i is bit i / 32 of high[i % 32].
struct BlockQ5_K {
  static constexpr int kElements = 256;
  uint16_t d;     // f16
  uint16_t dmin;  // f16
  uint8_t scales[12];
  uint8_t high[32];
  uint8_t q[128];
};

// 16 groups of 16. x[i] = d * scales[i / 16] * (q[i] - 32), q of six bits. Within half h = i / 128, r = i % 128: the
// low four bits are in low[64 * h + r % 64], low nibble for r < 64, else high; the high two are bits 2 * (r / 32) and
// up of high[32 * h + r % 32].
struct BlockQ6_K {
  static constexpr int kElements = 256;
  uint8_t low[128];
  uint8_t high[64];
  int8_t scales[16];
  uint16_t d;  // f16
};

// The 16 levels of the non-linear four-bit formats.
constexpr int8_t kIQ4Levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

// x[i] = d * kIQ4Levels[q[i]]; nibbles as in BlockQ4_0.
struct BlockIQ4_NL {
  static constexpr int kElements = 32;
  uint16_t d;  // f16
  uint8_t q[16];
};

// 8 groups of 32. x[i] = d * (scale(g) - 32) * kIQ4Levels[q[i]]; nibbles per group as in BlockQ4_0. scale(g): the low
// four bits are nibble g % 2 of scales_low[g / 2], the high two are bits 2 * g and up of scales_high.
struct BlockIQ4_XS {
  static constexpr int kElements = 256;
  uint16_t d;  // f16
  uint16_t scales_high;
  uint8_t scales_low[4];
  uint8_t q[128];
};

// Twice the 16 values of E2M1 (one sign, two exponent, one mantissa bit), so that they are whole.
constexpr int8_t kMXFP4Levels[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

// OCP Microscaling Formats 1.0. x[i] = 2^(e - 128) * kMXFP4Levels[q[i]], NaN for e = 255; nibbles as in BlockQ4_0.
struct BlockMXFP4 {
  static constexpr int kElements = 32;
  uint8_t e;  // E8M0
  uint8_t q[16];
};

// 4 groups of 16. x[i] = scale(g) / 2 * kMXFP4Levels[q[i]], scale(g) in E4M3, its sign left out, 0x7f meaning 0. The
// nibbles of a group are 8 bytes: elements 0..7 the low ones, elements 8..15 the high ones. Files have a float for the
// whole matrix beside it.
struct BlockNVFP4 {
  static constexpr int kElements = 64;
  uint8_t scales[4];  // E4M3
  uint8_t q[32];
};

// Groups of integers with a zero point. x[i] = d * (q[i] - zero), zero 0 to 16; every 32 nibbles as in BlockQ4_0.
template <int kGroupElements>
struct BlockI4 {
  static constexpr int kElements = kGroupElements;
  uint16_t d;  // f16
  uint8_t zero;
  uint8_t unused;
  uint8_t q[kGroupElements / 2];
};

// x[i] = d * q[i].
struct BlockI8 {
  static constexpr int kElements = 128;
  uint16_t d;  // f16
  int8_t q[128];
};

// Half of the elements are zero. Bit i % 16 of kept[i / 16] says whether element i has a code; then x[i] = d * q[number
// of such elements before i], otherwise x[i] = 0. Only the first 32 bits that are set count.
struct BlockS8 {
  static constexpr int kElements = 64;
  static constexpr int kKept = 32;
  uint16_t d;  // f16
  uint16_t kept[4];
  int8_t q[kKept];
};

// x[i] = d * q[i], q in E4M3 (tensor/float8.h).
struct BlockF8 {
  static constexpr int kElements = 128;
  float d;
  uint8_t q[128];
};

// x[i] = d * scale(g) / 2 * kMXFP4Levels[q[i]]; groups and nibbles as in BlockNVFP4, E4M3 with its sign and NaN.
struct BlockF4 {
  static constexpr int kElements = 64;
  float d;
  uint8_t scales[4];  // E4M3
  uint8_t q[32];
};

static_assert(sizeof(BlockNVFP4) == 36 && sizeof(BlockF4) == 40);
static_assert(sizeof(BlockMXFP4) == 17 && sizeof(BlockI4<32>) == 20 && sizeof(BlockI4<128>) == 68);
static_assert(sizeof(BlockI8) == 130 && sizeof(BlockS8) == 42 && sizeof(BlockF8) == 132);
static_assert(sizeof(BlockQ8_0) == 34 && sizeof(BlockQ4_0) == 18 && sizeof(BlockQ4_1) == 20);
static_assert(sizeof(BlockQ5_0) == 22 && sizeof(BlockQ5_1) == 24 && sizeof(BlockIQ4_NL) == 18);
static_assert(sizeof(BlockQ2_K) == 84 && sizeof(BlockQ3_K) == 110 && sizeof(BlockQ4_K) == 144);
static_assert(sizeof(BlockQ5_K) == 176 && sizeof(BlockQ6_K) == 210 && sizeof(BlockIQ4_XS) == 136);

}  // namespace quire
