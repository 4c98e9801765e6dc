// The memory layout of a packed weight matrix. docs/kernels.md gives the reasons, math.h says how the files of this
// folder are used.
//
// A panel is two vectors of rows; a matrix is its panels one after the other. A panel of a block format has, for every
// 256 columns, a header with the scales of its rows, followed by the codes of up to eight groups of 32 columns. Codes
// stay as narrow as in the file: a code of 4 + 2 bits has four bits in one plane and two bits in another. A panel of a
// float format has, for every column, the elements of its rows.
#pragma once

#include "isa/vec.h"
#include "kernels/block_codes.h"
#include "kernels/kernels.h"
#include "kernels/vector/loops.h"

namespace quire {
namespace {

constexpr int kPanelVectors = 2;
constexpr int kPanelRows = kPanelVectors * kLanes;
constexpr int kGroup = 32;          // columns that share an activation scale
constexpr int kGroupWords = 8;      // a word: four neighbouring columns of one row, the operand of Dots::add
constexpr int kBlockColumns = 256;  // columns with one header
constexpr int kBlockGroups = kBlockColumns / kGroup;
constexpr int kVectorBytes = 4 * kLanes;
constexpr int kWordBytes = kPanelVectors * kVectorBytes;  // one word of all rows of a panel

// The number of groups in the block that starts with column k.
inline int groups_from(int64_t k, int64_t cols) {
  return static_cast<int>((cols - k < kBlockColumns ? cols - k : kBlockColumns) / kGroup);
}

constexpr bool is_code_format(Format format) {
  for (const CodeFormat& row : kCodeFormats) {
    if (row.format == format) return true;
  }
  return false;
}
constexpr CodeScheme scheme_of(Format format) {
  const CodeFormat* row = kCodeFormats;
  while (row->format != format) ++row;
  return row->scheme;
}
constexpr bool is_sparse_format(Format format) { return is_code_format(format) && scheme_of(format).is_sparse; }
// Formats are compiled by family: floats, codes that index levels, and other codes by their planes: one plane of eight
// bits, one of four, or any others; and codes of which only some are there.
enum class FormatFamily : uint8_t { kFloats, kBytes, kNibbles, kLevels, kPlanes, kSparse };
constexpr FormatFamily family_of(CodeScheme scheme) {
  return scheme.is_sparse                                ? FormatFamily::kSparse
         : scheme.levels != nullptr                      ? FormatFamily::kLevels
         : scheme.low_bits == 8                          ? FormatFamily::kBytes
         : scheme.low_bits == 4 && scheme.high_bits == 0 ? FormatFamily::kNibbles
                                                         : FormatFamily::kPlanes;
}
struct FormatFamilies {
  FormatFamily of[kNumFormats];
};
constexpr FormatFamilies format_families() {
  FormatFamilies families = {};
  for (const CodeFormat& row : kCodeFormats) families.of[static_cast<int>(row.format)] = family_of(row.scheme);
  return families;
}
constexpr FormatFamilies kFormatFamilies = format_families();

// 0 for formats that are not multiplied as floats.
constexpr int float_bytes(Format format) {
  return format == Format::kF32 ? 4 : format == Format::kF16 || format == Format::kBF16 ? 2 : 0;
}

// F8_G128: per 128 columns the float scales of the rows, then the columns.
constexpr int kF8Columns = 128;
constexpr int kF8PartBytes = kPanelRows * (4 + kF8Columns);

// The sizes and offsets in bytes of 256 columns of a panel. The header has the scales [scales][rows]; then, if the
// scheme has them, f16 mins or one-byte zero points in the same order; then int8 sub-scales [sub_scales][rows] and
// sub-mins. A scale is an f16 or one byte of E8M0.
struct BlockLayout {
  int scales;  // per row
  int scale_bytes;
  int mins_offset;
  int zeros_offset;
  int sub_scales_offset;
  int sub_mins_offset;
  int header_bytes;
  int group_bytes;
  int slack_bytes;  // behind the last block of a panel
};

// A sparse format has, for every 64 columns of a panel, the bitmaps of the sixteen words, [words][vectors] with a bit
// for each byte, and then for each vector the codes that are there, in the order of the words, in the room of half of
// all. They are read a vector at a time, which reaches beyond the last one.
constexpr int kSparseColumns = 64;
constexpr int kSparseGroups = kSparseColumns / kGroup;
constexpr int kBitmapBytes = kVectorBytes / 8;
constexpr int kSparseBitmaps = kSparseGroups * kGroupWords * kPanelVectors * kBitmapBytes;
constexpr int kSparseCodes = kSparseGroups * kGroupWords * kVectorBytes / 2;  // of a vector
constexpr int kSparseBytes = kSparseBitmaps + kPanelVectors * kSparseCodes;

constexpr BlockLayout block_layout(CodeScheme scheme) {
  const int sides = scheme.has_min ? 2 : 1;
  const int scales = scheme.sub_scales == 0 ? kBlockColumns / scheme.scale_elements : 1;
  const int scale_bytes = scheme.power_scales ? 1 : 2;
  const int scales_bytes = scales * kPanelRows * scale_bytes;
  const int zeros_bytes = scheme.has_zeros ? scales * kPanelRows : 0;
  const int subs_bytes = scheme.sub_scales * kPanelRows;
  return {.scales = scales,
          .scale_bytes = scale_bytes,
          .mins_offset = scales_bytes,
          .zeros_offset = scales_bytes,
          .sub_scales_offset = sides * scales_bytes,
          .sub_mins_offset = sides * scales_bytes + subs_bytes,
          .header_bytes = sides * (scales_bytes + subs_bytes) + zeros_bytes,
          .group_bytes =
              scheme.is_sparse ? kSparseBytes / kSparseGroups : kWordBytes * (scheme.low_bits + scheme.high_bits),
          .slack_bytes = scheme.is_sparse ? kVectorBytes : 0};
}

constexpr int64_t code_panel_bytes(BlockLayout layout, int64_t cols) {
  return divide_up(cols, kBlockColumns) * layout.header_bytes + cols / kGroup * layout.group_bytes + layout.slack_bytes;
}
constexpr int64_t float_panel_bytes(Format format, int64_t cols) {
  if (format == Format::kF8_G128) return divide_up(cols, kF8Columns) * kF8PartBytes;
  return kPanelRows * cols * float_bytes(format);
}
constexpr int64_t panel_bytes(Format format, int64_t cols) {
  if (!is_code_format(format)) return float_panel_bytes(format, cols);
  return code_panel_bytes(block_layout(scheme_of(format)), cols);
}

[[maybe_unused]] size_t matrix_bytes(Format format, int64_t rows, int64_t cols) {
  return static_cast<size_t>(divide_up(rows, kPanelRows) * panel_bytes(format, cols));
}

}  // namespace
}  // namespace quire
