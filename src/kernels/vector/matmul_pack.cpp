// Packs the rows of a file into a matrix (matmul_layout.h). math.h says how the files of this folder are used.
//
// Rows are packed one at a time: the codes of a row become the words of its planes in one pass of whole registers, and
// the words are stored in the lane of the row. The destination is a few KiB of one part of one panel, so it stays in
// the first-level cache until all rows have been packed.
#include "isa/bytes.h"
#include "isa/vec.h"
#include "kernels/block_codes.h"
#include "kernels/kernels.h"
#include "kernels/vector/loops.h"
#include "kernels/vector/matmul_layout.h"
#include "kernels/vector/parts.h"
#include "kernels/vector/task_parts.h"
#include "kernels/vector/transpose.h"
#include "tensor/formats/blocks.h"

namespace quire::QUIRE_TABLE {
namespace {

using WordPair = uint32_t __attribute__((vector_size(8)));
using WordGroup = uint32_t __attribute__((vector_size(32)));

// kBits words.
template <int kBits>
inline auto words_of_plane() {
  if constexpr (kBits == 1) return uint32_t{};
  if constexpr (kBits == 2) return WordPair{};
  if constexpr (kBits == 4) return WordRow{};
  if constexpr (kBits == 8) return WordGroup{};
}

// Computes the words of one row in a plane of kBits from the eight words of a group's codes: word s goes to word
// s % kBits, at bit kBits * (s / kBits) of each byte.
template <int kBits, int kShift>
inline void make_plane(const uint32_t* codes, uint32_t* plane) {
  constexpr uint32_t kMask = 0x01010101u * ((1u << kBits) - 1);
  auto packed = words_of_plane<kBits>();
  for (int at = 0; at < kGroupWords; at += kBits) {
    auto words = packed;
    __builtin_memcpy(&words, codes + at, sizeof words);
    packed |= ((words >> kShift) & kMask) << at;
  }
  __builtin_memcpy(plane, &packed, sizeof packed);
}

// Stores the words of the row in `lane` into `plane`: they go to the same lane of every other vector.
template <int kBits, int kShift>
inline void pack_plane(const uint32_t* codes, std::byte* plane, int lane) {
  uint32_t words[kBits];
  make_plane<kBits, kShift>(codes, words);
  for (int i = 0; i < kBits; ++i) __builtin_memcpy(plane + i * kWordBytes + 4 * lane, words + i, sizeof *words);
}

template <int kLowBits, int kHighBits>
void pack_groups(const uint8_t* codes, int groups, uint32_t flip, std::byte* dst, int row) {
  std::byte* low = dst + row / kLanes * kVectorBytes;
  std::byte* high = low + kLowBits * kWordBytes;
  for (int g = 0; g < groups; ++g) {
    uint32_t words[kGroupWords];
    __builtin_memcpy(words, codes + g * kGroup, sizeof words);
    for (uint32_t& word : words) word ^= flip;
    const int offset = g * (kLowBits + kHighBits) * kWordBytes;
    pack_plane<kLowBits, 0>(words, low + offset, row % kLanes);
    if constexpr (kHighBits > 0) pack_plane<kHighBits, kLowBits>(words, high + offset, row % kLanes);
  }
}

constexpr bool has_pack_groups(CodeScheme s) {
  return (s.low_bits == 8 && s.high_bits == 0) || (s.low_bits == 4 && s.high_bits <= 2) ||
         (s.low_bits == 2 && s.high_bits <= 1);
}
constexpr bool all_have_pack_groups() {
  for (const CodeFormat& row : kCodeFormats) {
    if (!has_pack_groups(row.scheme)) return false;
  }
  return true;
}
static_assert(all_have_pack_groups());

void pack_codes(CodeScheme scheme, const uint8_t* codes, int groups, std::byte* dst, int row) {
  // Codes of eight bits are multiplied as they are stored, so their zero point is applied here; that of narrower codes
  // is applied when they are decoded.
  if (scheme.low_bits == 8) return pack_groups<8, 0>(codes, groups, kCodeZero == 128 ? 0 : 0x80808080u, dst, row);
  if (scheme.low_bits == 4 && scheme.high_bits == 0) return pack_groups<4, 0>(codes, groups, 0, dst, row);
  if (scheme.low_bits == 4 && scheme.high_bits == 1) return pack_groups<4, 1>(codes, groups, 0, dst, row);
  if (scheme.low_bits == 4 && scheme.high_bits == 2) return pack_groups<4, 2>(codes, groups, 0, dst, row);
  if (scheme.low_bits == 2 && scheme.high_bits == 0) return pack_groups<2, 0>(codes, groups, 0, dst, row);
  return pack_groups<2, 1>(codes, groups, 0, dst, row);
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

// The codes of a panel in 256 columns, zeros as 128.
struct PanelCodes {
  uint8_t of[kPanelRows][kBlockColumns];
};

// Packs one vector of 64 columns from `first` on.
void pack_sparse_vector(const PanelCodes& codes, int first, int v, std::byte* dst) {
  std::byte* kept = dst + kSparseBitmaps + v * kSparseCodes;
  for (int word = 0; word < kSparseGroups * kGroupWords; ++word) {
    uint64_t bitmap = 0;
    for (int i = 0; i < kVectorBytes; ++i) {
      const uint8_t code = codes.of[v * kLanes + i / 4][first + 4 * word + i % 4];
      if (code == 128) continue;
      bitmap |= uint64_t{1} << i;
      *kept++ = static_cast<std::byte>(code - 128 + kCodeZero);
    }
    __builtin_memcpy(dst + (word * kPanelVectors + v) * kBitmapBytes, &bitmap, kBitmapBytes);  // little endian
  }
}

// As pack_code_panel.
void pack_sparse_panel(Format format, const std::byte* src, size_t row_bytes, int rows, int64_t cols, std::byte* dst) {
  const CodeScheme scheme = scheme_of(format);
  const BlockLayout layout = block_layout(scheme);
  __builtin_memset(dst, 0, static_cast<size_t>(code_panel_bytes(layout, cols)));
  PanelCodes codes;
  __builtin_memset(&codes, 128, sizeof codes);
  for (int64_t k = 0; k < cols; k += kBlockColumns) {
    const int64_t count = cols - k < kBlockColumns ? cols - k : kBlockColumns;
    for (int row = 0; row < rows; ++row) {
      BlockCodes block;
      read_block_codes(format, src + static_cast<size_t>(row) * row_bytes, k, count, block);
      pack_header(scheme, block, dst, row);
      __builtin_memcpy(codes.of[row], block.codes, static_cast<size_t>(count));
    }
    dst += layout.header_bytes;
    for (int first = 0; first < count; first += kSparseColumns, dst += kSparseBytes) {
      for (int v = 0; v < kPanelVectors; ++v) pack_sparse_vector(codes, first, v, dst);
    }
  }
}

// Packs `rows` rows, row_bytes apart, starting at src; the other rows of the panel become zeros.
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
      pack_codes(scheme, block.codes, groups, dst + layout.header_bytes, row);
    }
    dst += part_bytes;
  }
}

// Columns [first, last) one by one.
template <int kBytes>
void pack_float_columns(const std::byte* src, size_t row_bytes, int rows, int64_t first, int64_t last, std::byte* dst) {
  __builtin_memset(dst + first * kPanelRows * kBytes, 0, static_cast<size_t>((last - first) * kPanelRows * kBytes));
  for (int row = 0; row < rows; ++row) {
    const std::byte* from = src + static_cast<size_t>(row) * row_bytes;
    for (int64_t k = first; k < last; ++k) {
      __builtin_memcpy(dst + (k * kPanelRows + row) * kBytes, from + k * kBytes, kBytes);
    }
  }
}

// Row: sixteen bytes of elements.
template <typename Row>
void pack_float_panel(const std::byte* src, size_t row_bytes, int rows, int64_t cols, std::byte* dst) {
  constexpr int kBytes = sizeof(Row{}[0]);
  constexpr int kSize = sizeof(Row) / kBytes;
  const int64_t whole = rows < kPanelRows ? 0 : cols / kSize * kSize;
  for (int64_t k = 0; k < whole; k += kSize) {
    for (int row = 0; row < kPanelRows; row += kSize) {
      Row tile[kSize];
#pragma GCC unroll 8
      for (int i = 0; i < kSize; ++i) {
        __builtin_memcpy(&tile[i], src + static_cast<size_t>(row + i) * row_bytes + k * kBytes, sizeof(Row));
      }
      transpose(tile);
#pragma GCC unroll 8
      for (int i = 0; i < kSize; ++i) {
        __builtin_memcpy(dst + ((k + i) * kPanelRows + row) * kBytes, &tile[i], sizeof(Row));
      }
    }
  }
  pack_float_columns<kBytes>(src, row_bytes, rows, whole, cols, dst);
}

// Prefetches `size` bytes: the rows of a panel are read side by side, which are too many streams for the hardware
// prefetcher. A page of a mapped file is touched first, because a prefetch does not map it.
inline void fetch_file(const std::byte* from, size_t size) {
  constexpr size_t kPageBytes = 4096;
  for (size_t at = 0; at < size; at += 64) {
    if (at % kPageBytes == 0) static_cast<void>(*static_cast<const volatile std::byte*>(from + at));
    prefetch_far(from + at);
  }
}

// A block with a NaN among its codes gets the scale NaN, so that the multiplication needs no check: every output sums
// over whole rows, so it is NaN in either case.
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

}  // namespace

void pack_matrix(const Exec& exec, Format format, int64_t rows, int64_t cols, const std::byte* src, std::byte* dst) {
  const WeightFormat& info = weight_format(format);
  const size_t row_bytes = static_cast<size_t>(cols / info.block_elements) * static_cast<size_t>(info.block_bytes);
  for_each_panel(exec, divide_up(rows, kPanelRows), [=](int64_t panel) {
    const int64_t left = rows - panel * kPanelRows;
    const auto count = static_cast<int>(left < kPanelRows ? left : kPanelRows);
    const std::byte* from = src + static_cast<size_t>(panel * kPanelRows) * row_bytes;
    std::byte* to = dst + panel * panel_bytes(format, cols);
    fetch_file(from, static_cast<size_t>(count) * row_bytes);
    if (format == Format::kF8_G128) return pack_f8_panel(from, row_bytes, count, cols, to);
    if (is_sparse_format(format)) return pack_sparse_panel(format, from, row_bytes, count, cols, to);
    if (is_code_format(format)) return pack_code_panel(format, from, row_bytes, count, cols, to);
    if (float_bytes(format) == 4) return pack_float_panel<WordRow>(from, row_bytes, count, cols, to);
    return pack_float_panel<HalfRow>(from, row_bytes, count, cols, to);
  });
}

}  // namespace quire::QUIRE_TABLE
