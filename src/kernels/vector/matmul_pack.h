// How rows of a file become a packed matrix (matmul_layout.h). See math.h for how files of this folder are used.
#pragma once

namespace quire {
namespace {

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
    const int at = i * kPanelRows + row;
    std::byte* scale = dst + layout.scale_bytes * at;
    __builtin_memcpy(scale, &block.scale[i], static_cast<size_t>(layout.scale_bytes));  // little endian
    if (scheme.has_min) __builtin_memcpy(scale + layout.mins_offset, &block.min[i], 2);
    if (scheme.has_zeros) dst[layout.zeros_offset + at] = static_cast<std::byte>(block.zero[i]);
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

// A block with a NaN among its codes gets the scale NaN, so that multiplication needs no check: every output sums over
// whole rows, and is NaN either way.
void pack_f8_panel(const std::byte* src, size_t row_bytes, int rows, int64_t cols, std::byte* dst) {
  for (int64_t part = 0; part < cols / kF8Columns; ++part) {
    if (rows < kPanelRows) __builtin_memset(dst, 0, kF8PartBytes);
    for (int row = 0; row < rows; ++row) {
      BlockF8 block;
      __builtin_memcpy(&block, src + static_cast<size_t>(row) * row_bytes + part * sizeof block, sizeof block);
      for (int i = 0; i < kF8Columns; ++i) {
        dst[(4 + i) * kPanelRows + row] = static_cast<std::byte>(block.q[i]);
        if ((block.q[i] & 0x7f) == 0x7f) block.d = __builtin_nanf("");
      }
      __builtin_memcpy(dst + 4 * row, &block.d, sizeof block.d);
    }
    dst += kF8PartBytes;
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
    if (format == Format::kF8_G128) return pack_f8_panel(from, row_bytes, count, cols, to);
    if (is_code_format(format)) return pack_code_panel(format, from, row_bytes, count, cols, to);
    if (float_bytes(format) == 4) return pack_float_panel<4>(from, row_bytes, count, cols, to);
    return pack_float_panel<2>(from, row_bytes, count, cols, to);
  };
  run_tiles(exec, divide_up(rows, kPanelRows), pack_panel);
}

}  // namespace
}  // namespace quire
