// How a packed weight matrix lies in memory, and how rows of a file get there. See math.h for how files of this folder
// are used, docs/kernels.md for the reasons.
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

constexpr bool is_code_format(Format format) { return format >= Format::kQ8_0 && format <= Format::kIQ4_XS; }
constexpr CodeScheme scheme_of(Format format) { return kCodeSchemes[static_cast<int>(format) - kFirstCodeFormat]; }
// 0 for formats that are not multiplied as floats.
constexpr int float_bytes(Format format) {
  return format == Format::kF32 ? 4 : format == Format::kF16 || format == Format::kBF16 ? 2 : 0;
}

// Bytes of one 256-column part of a panel. The header: f16 scales [scales][rows], f16 mins likewise if the scheme has
// them, then int8 sub-scales [sub_scales][rows] and sub-mins likewise.
struct BlockLayout {
  int scales;  // f16 per row
  int mins_offset;
  int sub_scales_offset;
  int sub_mins_offset;
  int header_bytes;
  int group_bytes;
};

constexpr BlockLayout block_layout(CodeScheme scheme) {
  const int sides = scheme.has_min ? 2 : 1;
  const int scales = scheme.sub_scales == 0 ? kBlockGroups : 1;
  const int scales_bytes = scales * kPanelRows * 2;
  const int subs_bytes = scheme.sub_scales * kPanelRows;
  return {.scales = scales,
          .mins_offset = scales_bytes,
          .sub_scales_offset = sides * scales_bytes,
          .sub_mins_offset = sides * scales_bytes + subs_bytes,
          .header_bytes = sides * (scales_bytes + subs_bytes),
          .group_bytes = kPanelVectors * kVectorBytes * (scheme.low_bits + scheme.high_bits)};
}

constexpr int64_t panel_bytes(Format format, int64_t cols) {
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

// A plane of b bits holds, per vector of rows, b vectors: word s of the group is in vector s % b, at bit b * (s / b) of
// each byte.
void pack_plane(const uint32_t* words, int shift, int bits, std::byte* plane, int lane) {
  const uint32_t mask = 0x01010101u * ((1u << bits) - 1);
  for (int i = 0; i < bits; ++i) {
    uint32_t packed = 0;
    for (int s = i; s < kGroupWords; s += bits) packed |= ((words[s] >> shift) & mask) << (s - i);
    __builtin_memcpy(plane + i * kVectorBytes + 4 * lane, &packed, sizeof packed);
  }
}

void pack_group(CodeScheme scheme, const uint8_t* codes, std::byte* dst, int row) {
  uint32_t words[kGroupWords];
  __builtin_memcpy(words, codes, sizeof words);
  // Codes of eight bits are multiplied as they lie here; narrower ones get their zero point when they are decoded.
  if (scheme.low_bits == 8 && kCodeZero != 128) {
    for (uint32_t& word : words) word ^= 0x80808080u;
  }
  const int vector = row / kLanes;
  std::byte* high = dst + kPanelVectors * scheme.low_bits * kVectorBytes;
  pack_plane(words, 0, scheme.low_bits, dst + vector * scheme.low_bits * kVectorBytes, row % kLanes);
  pack_plane(words, scheme.low_bits, scheme.high_bits, high + vector * scheme.high_bits * kVectorBytes, row % kLanes);
}

void pack_header(CodeScheme scheme, const BlockCodes& block, std::byte* dst, int row) {
  const BlockLayout layout = block_layout(scheme);
  for (int i = 0; i < layout.scales; ++i) {
    std::byte* scale = dst + 2 * (i * kPanelRows + row);
    __builtin_memcpy(scale, &block.scale[i], 2);
    if (scheme.has_min) __builtin_memcpy(scale + layout.mins_offset, &block.min[i], 2);
  }
  for (int i = 0; i < scheme.sub_scales; ++i) {
    const int at = i * kPanelRows + row;
    dst[layout.sub_scales_offset + at] = static_cast<std::byte>(block.sub_scale[i]);
    if (scheme.has_min) dst[layout.sub_mins_offset + at] = static_cast<std::byte>(block.sub_min[i]);
  }
}

// `rows` rows from src on, row_bytes apart; the panel's other rows become zeros.
void pack_code_panel(Format format, const std::byte* src, size_t row_bytes, int rows, int64_t cols, std::byte* dst) {
  const CodeScheme scheme = scheme_of(format);
  const BlockLayout layout = block_layout(scheme);
  for (int64_t k = 0; k < cols; k += kBlockColumns) {
    const int64_t count = cols - k < kBlockColumns ? cols - k : kBlockColumns;
    const auto groups = static_cast<int>(count / kGroup);
    const int part_bytes = layout.header_bytes + groups * layout.group_bytes;
    if (rows < kPanelRows) __builtin_memset(dst, 0, static_cast<size_t>(part_bytes));
    for (int row = 0; row < rows; ++row) {
      BlockCodes block;
      read_block_codes(format, src + static_cast<size_t>(row) * row_bytes, k, count, block);
      pack_header(scheme, block, dst, row);
      for (int g = 0; g < groups; ++g) {
        pack_group(scheme, block.codes + g * kGroup, dst + layout.header_bytes + g * layout.group_bytes, row);
      }
    }
    dst += part_bytes;
  }
}

template <int kBytes>
void pack_float_panel(const std::byte* src, size_t row_bytes, int rows, int64_t cols, std::byte* dst) {
  for (int64_t k = 0; k < cols; ++k) {
    for (int row = 0; row < kPanelRows; ++row) {
      if (row < rows) {
        __builtin_memcpy(dst, src + static_cast<size_t>(row) * row_bytes + k * kBytes, kBytes);
      } else {
        __builtin_memset(dst, 0, kBytes);
      }
      dst += kBytes;
    }
  }
}

void pack_matrix(const Exec& exec, Format format, int64_t rows, int64_t cols, const std::byte* src, std::byte* dst) {
  const WeightFormat& info = weight_format(format);
  const size_t row_bytes = static_cast<size_t>(cols / info.block_elements) * static_cast<size_t>(info.block_bytes);
  auto pack_panel = [=](int64_t panel, int) {
    const int64_t left = rows - panel * kPanelRows;
    const auto count = static_cast<int>(left < kPanelRows ? left : kPanelRows);
    const std::byte* from = src + static_cast<size_t>(panel * kPanelRows) * row_bytes;
    std::byte* to = dst + panel * panel_bytes(format, cols);
    if (is_code_format(format)) return pack_code_panel(format, from, row_bytes, count, cols, to);
    if (float_bytes(format) == 4) return pack_float_panel<4>(from, row_bytes, count, cols, to);
    return pack_float_panel<2>(from, row_bytes, count, cols, to);
  };
  run_tiles(exec, divide_up(rows, kPanelRows), pack_panel);
}

}  // namespace
}  // namespace quire
