// How a packed weight matrix lies in memory. See math.h for how files of this folder are used, docs/kernels.md for the
// reasons.
//
// A panel is two vectors of rows; a matrix is its panels one after the other. A panel of a block format is, per 256
// columns, a header with the scales of its rows and then the codes of up to eight groups of 32 columns. Codes stay as
// narrow as in the file: a code of 4 + 2 bits is a piece in a plane of four bits and one in a plane of two. A panel of
// a float format is, per column, the elements of its rows.
#pragma once

namespace quire {
namespace {

constexpr int kPanelVectors = 2;
constexpr int kPanelRows = kPanelVectors * kLanes;
constexpr int kGroup = 32;          // columns that share an activation scale
constexpr int kGroupWords = 8;      // a word: four neighbouring columns of one row, what one dot4 takes
constexpr int kBlockColumns = 256;  // columns under one header
constexpr int kBlockGroups = kBlockColumns / kGroup;
constexpr int kVectorBytes = 4 * kLanes;

constexpr int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

constexpr bool is_code_format(Format format) {
  return static_cast<int>(format) >= kFirstCodeFormat && static_cast<int>(format) <= kLastCodeFormat;
}
constexpr CodeScheme scheme_of(Format format) { return kCodeSchemes[static_cast<int>(format) - kFirstCodeFormat]; }
// 0 for formats that are not multiplied as floats.
constexpr int float_bytes(Format format) {
  return format == Format::kF32 ? 4 : format == Format::kF16 || format == Format::kBF16 ? 2 : 0;
}

// F8_G128: per 128 columns the float scales of the rows, then the columns.
constexpr int kF8Columns = 128;
constexpr int kF8PartBytes = kPanelRows * (4 + kF8Columns);

// Bytes of one 256-column part of a panel. The header: scales [scales][rows], then likewise f16 mins or zero points of
// a byte if the scheme has them, then int8 sub-scales [sub_scales][rows] and sub-mins likewise. A scale is an f16, or a
// byte of E8M0.
struct BlockLayout {
  int scales;  // per row
  int scale_bytes;
  int mins_offset;
  int zeros_offset;
  int sub_scales_offset;
  int sub_mins_offset;
  int header_bytes;
  int group_bytes;
};

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
          .group_bytes = kPanelVectors * kVectorBytes * (scheme.low_bits + scheme.high_bits)};
}

constexpr int64_t panel_bytes(Format format, int64_t cols) {
  if (format == Format::kF8_G128) return divide_up(cols, kF8Columns) * kF8PartBytes;
  if (!is_code_format(format)) return kPanelRows * cols * float_bytes(format);
  const BlockLayout layout = block_layout(scheme_of(format));
  return divide_up(cols, kBlockColumns) * layout.header_bytes + cols / kGroup * layout.group_bytes;
}

// How far ahead of what is multiplied a matrix is fetched: far enough to cover a memory access and the decoding in
// between. Best of 1.5 to 24 KiB on a Xeon of the Emerald Rapids class.
constexpr int kFetchAhead = 6144;

// body(first, count) over tiles of at most kTokenTile tokens; what is left of less than two tiles is halved.
template <typename F>
inline void for_token_tiles(int64_t num_tokens, F body) {
  for (int64_t token = 0; token < num_tokens;) {
    const int64_t left = num_tokens - token;
    const int64_t count = left <= kTokenTile ? left : left < 2 * kTokenTile ? (left + 1) / 2 : kTokenTile;
    body(token, static_cast<int>(count));
    token += count;
  }
}

// sums += panels * tokens^T for `count` panels from `first` on, over all columns; sums:
// [count][num_tokens][kPanelRows].
using MultiplyPanels = void (*)(const PackedMatrix& w, int64_t first, int count, const MatmulInput& x,
                                int64_t first_token, int64_t num_tokens, float* sums);

size_t matrix_bytes(Format format, int64_t rows, int64_t cols) {
  return static_cast<size_t>(divide_up(rows, kPanelRows) * panel_bytes(format, cols));
}

}  // namespace
}  // namespace quire
