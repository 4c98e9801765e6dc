// Decodes block formats to integer codes with scales: every packer of matmul weights starts from these, so that the bit
// layouts of files are known in one place only. Plain data and functions; any thread.
//
// 256 elements that start at a block boundary (fewer at the end of a row) are
//   x[i] = scale(i) * sub_scale(i) * value(codes[i]) + min(i) * sub_min(i)
// where value(code) is code - zero, with one zero point for the format or one for every scale, or levels[code].
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernels.h"
#include "tensor/format.h"
#include "tensor/formats/blocks.h"

namespace quire {

// How the codes of a format are stored and what they mean.
struct CodeScheme {
  int low_bits = 0;   // a code is low | high << low_bits
  int high_bits = 0;  // 0: none
  int zero = 0;
  const int8_t* levels = nullptr;  // 16 values that codes index; null: value = code - zero
  bool has_min = false;            // otherwise min = 0
  int sub_scales = 0;              // per 256 elements, which then share one f16 scale (and min): 8 or 16
  int scale_elements = 32;         // without sub-scales: elements that share a scale
  bool has_zeros = false;          // every scale has a zero point, which replaces `zero`
  bool power_scales = false;       // scales are E8M0 of half a step (tensor/float8.h), not f16
  bool is_sparse = false;          // of every 64 values at most 32 are not zero; panels hold only those
};

struct CodeFormat {
  Format format;
  CodeScheme scheme;
};

// The formats that every table of the CPU multiplies in integers. A row here and its reader in block_codes.cpp make a
// format fast; without them it is decoded to floats (vector/matmul_blocks.cpp).
constexpr CodeFormat kCodeFormats[] = {
    {Format::kQ8_0, {.low_bits = 8, .zero = 128}},
    {Format::kQ4_0, {.low_bits = 4, .zero = 8}},
    {Format::kQ4_1, {.low_bits = 4, .has_min = true}},
    {Format::kQ5_0, {.low_bits = 4, .high_bits = 1, .zero = 16}},
    {Format::kQ5_1, {.low_bits = 4, .high_bits = 1, .has_min = true}},
    {Format::kQ2_K, {.low_bits = 2, .has_min = true, .sub_scales = 16}},
    {Format::kQ3_K, {.low_bits = 2, .high_bits = 1, .zero = 4, .sub_scales = 16}},
    {Format::kQ4_K, {.low_bits = 4, .has_min = true, .sub_scales = 8}},
    {Format::kQ5_K, {.low_bits = 4, .high_bits = 1, .has_min = true, .sub_scales = 8}},
    {Format::kQ6_K, {.low_bits = 4, .high_bits = 2, .zero = 32, .sub_scales = 16}},
    {Format::kIQ4_NL, {.low_bits = 4, .levels = kIQ4Levels}},
    {Format::kIQ4_XS, {.low_bits = 4, .levels = kIQ4Levels, .sub_scales = 8}},
    {Format::kMXFP4, {.low_bits = 4, .levels = kMXFP4Levels, .power_scales = true}},
    {Format::kI4_G32, {.low_bits = 4, .has_zeros = true}},
    {Format::kI4_G128, {.low_bits = 4, .scale_elements = 128, .has_zeros = true}},
    {Format::kI8_G128, {.low_bits = 8, .zero = 128, .scale_elements = 128}},
    {Format::kS8_G64, {.low_bits = 8, .zero = 128, .scale_elements = 64, .is_sparse = true}},
};

constexpr int kNumCodeFormats = static_cast<int>(sizeof kCodeFormats / sizeof kCodeFormats[0]);

// Whether the tables of the CPU multiply a format by packed rows of that kind: codes of integers always, formats of 16
// and 8 bits by bf16. Others are multiplied by floats as they are.
bool is_multiplied_packed(Format format, Activations activations);

struct BlockCodes {
  static constexpr int kElements = 256;
  static constexpr int kGroups = 8;  // of 32 elements
  uint8_t codes[kElements];
  // With sub-scales only [0] is used, otherwise one per scale_elements.
  uint16_t scale[kGroups];  // f16, or E8M0
  uint16_t min[kGroups];    // f16
  uint8_t zero[kGroups];
  int8_t sub_scale[2 * kGroups];
  int8_t sub_min[2 * kGroups];
};

// The scheme of a format; null when it has none.
const CodeScheme* find_code_scheme(Format format);

// Decodes elements [first, first + count) of the row at `row`; `first` is a multiple of 256, `count` is whole blocks
// and at most 256. Entries of groups beyond `count` are zero.
void read_block_codes(Format format, const std::byte* row, int64_t first, int64_t count, BlockCodes& out);

}  // namespace quire
