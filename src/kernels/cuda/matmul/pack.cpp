#include "kernels/cuda/matmul/pack.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "kernels/block_codes.h"
#include "kernels/cuda/matmul/matmul_layout.h"

namespace quire {
namespace {

// The codes and scales of a tile before they are stored in its layout.
struct Codes {
  uint16_t at[kTileRows][BlockCodes::kElements];
};

template <CodeKind kCodes>
constexpr auto kPositions = [] {
  std::array<CodePosition, kTileRows * kMmaColumns> positions;
  for (int i = 0; i < kTileRows * kMmaColumns; ++i) {
    positions[i] = code_position(kCodes, i / kMmaColumns, i % kMmaColumns);
  }
  return positions;
}();

// Kinds with the same number of bits have the same layout, except kDotInt8.
template <CodeKind kCodes>
void put_mma_codes(const Codes& codes, int first, std::byte* to) {
  constexpr int kBits = code_bits({.codes = kCodes});
  for (int i = 0; i < kTileRows * kMmaColumns; ++i) {
    const CodePosition position = kPositions<kCodes>[i];
    const uint16_t code = codes.at[i / kMmaColumns][first + i % kMmaColumns];
    if constexpr (kBits == 4) to[position.byte] |= static_cast<std::byte>(code << position.shift);
    if constexpr (kBits == 8) to[position.byte] = static_cast<std::byte>(code);
    if constexpr (kBits == 16) std::memcpy(to + position.byte, &code, sizeof code);
  }
}

// Stores the codes of columns [first, first + tile_columns) into a tile of zeros.
void put_codes(TileFormat format, const Codes& codes, int first, std::byte* tile) {
  for (int column = 0; column < tile_columns(format); column += kMmaColumns) {
    std::byte* to = tile + column / kMmaColumns * mma_code_bytes(format);
    if (reads_int8_rows(format)) {
      put_mma_codes<CodeKind::kDotInt8>(codes, first + column, to);
      continue;
    }
    switch (code_bits(format)) {
      case 4: put_mma_codes<CodeKind::kInt4>(codes, first + column, to); break;
      case 8: put_mma_codes<CodeKind::kInt8>(codes, first + column, to); break;
      default: put_mma_codes<CodeKind::kBF16>(codes, first + column, to);
    }
  }
}

// Stores the scales of `row` for columns [first, first + tile_columns) of the block.
void put_scales(TileFormat format, CodeScheme scheme, const BlockCodes& block, int first, int row, std::byte* tile) {
  const TileLayout layout = tile_layout(format);
  for (int i = 0; i < layout.scales_per_row; ++i) {
    const int from = scheme.sub_scales > 0 ? 0 : (first + i * format.group) / scheme.scale_elements;
    const int to = row * layout.scales_per_row + i;
    std::memcpy(tile + layout.scales + to * layout.scale_bytes, &block.scale[from],  // little endian
                static_cast<size_t>(layout.scale_bytes));
    if (format.has_min) std::memcpy(tile + layout.mins + 2 * to, &block.min[from], 2);
    if (format.has_zeros) tile[layout.zeros + to] = static_cast<std::byte>(block.zero[from]);
  }
  if (scheme.sub_scales == 0) return;
  for (int group = 0; group < layout.groups; ++group) {
    const int from = first / format.group + group;
    const int to = row * layout.groups + group;
    tile[layout.sub_scales + to] = static_cast<std::byte>(block.sub_scale[from] + 128);
    if (format.has_min) tile[layout.sub_mins + to] = static_cast<std::byte>(block.sub_min[from] + 128);
  }
}

// Packs the tiles of columns [first, first + count), which are one block.
void pack_block(Format format, int64_t num_rows, int64_t first, int64_t count, const std::byte* src, size_t row_bytes,
                std::byte* dst) {
  const TileFormat tile_of = *tile_format(format);
  const CodeScheme scheme = *find_code_scheme(format);
  const bool is_signed = tile_of.codes == CodeKind::kInt8 || tile_of.codes == CodeKind::kDotInt8;
  BlockCodes blocks[kTileRows];
  Codes codes = {};
  for (int64_t row = 0; row < num_rows; ++row) {
    read_block_codes(format, src + static_cast<size_t>(row) * row_bytes, first, count, blocks[row]);
    for (int64_t i = 0; i < count; ++i) {
      codes.at[row][i] = static_cast<uint16_t>(blocks[row].codes[i] - (is_signed ? scheme.zero : 0));
    }
  }
  for (int column = 0; column < count; column += tile_columns(tile_of)) {
    put_codes(tile_of, codes, column, dst);
    for (int row = 0; row < num_rows; ++row) put_scales(tile_of, scheme, blocks[row], column, row, dst);
    dst += tile_layout(tile_of).bytes;
  }
}

// A group with a NaN among its codes gets the scale NaN, so that decoding needs no check.
void pack_f8_block(int64_t num_rows, int64_t first, const std::byte* src, size_t row_bytes, std::byte* dst) {
  const TileFormat tile_of = *tile_format(Format::kF8_G128);
  const TileLayout layout = tile_layout(tile_of);
  Codes codes = {};
  float scales[kTileRows] = {};
  for (int64_t row = 0; row < num_rows; ++row) {
    BlockF8 block;
    const auto index = static_cast<size_t>(first / BlockF8::kElements);
    std::memcpy(&block, src + static_cast<size_t>(row) * row_bytes + index * sizeof block, sizeof block);
    scales[row] = block.d;
    for (int i = 0; i < BlockF8::kElements; ++i) {
      codes.at[row][i] = block.q[i];
      if ((block.q[i] & 0x7f) == 0x7f) scales[row] = __builtin_nanf("");
    }
  }
  for (int column = 0; column < BlockF8::kElements; column += tile_columns(tile_of)) {
    put_codes(tile_of, codes, column, dst);
    std::memcpy(dst + layout.scales, scales, sizeof scales);
    dst += layout.bytes;
  }
}

// Packs columns [first, first + count), at most one tile.
void pack_halves(TileFormat format, int64_t num_rows, int64_t first, int64_t count, const std::byte* src,
                 size_t row_bytes, std::byte* dst) {
  Codes codes = {};
  for (int64_t row = 0; row < num_rows; ++row) {
    std::memcpy(codes.at[row], src + static_cast<size_t>(row) * row_bytes + 2 * first, 2 * static_cast<size_t>(count));
  }
  put_codes(format, codes, 0, dst);
}

}  // namespace

size_t packed_tile_row_bytes(Format format, int64_t cols) {
  const TileFormat tile_of = *tile_format(format);
  return static_cast<size_t>(tiles_along(cols, tile_of)) * static_cast<size_t>(tile_layout(tile_of).bytes);
}

size_t cuda_packed_bytes(Format format, int64_t rows, int64_t cols) {
  if (format == Format::kF32) return static_cast<size_t>(rows) * static_cast<size_t>(cols) * sizeof(float);
  if (!tile_format(format).has_value()) return 0;
  if (cols % weight_format(format).block_elements != 0) return 0;
  return static_cast<size_t>((rows + kTileRows - 1) / kTileRows) * packed_tile_row_bytes(format, cols);
}

void pack_tile_row(Format format, int64_t num_rows, int64_t cols, const std::byte* src, std::byte* dst) {
  const TileFormat tile_of = *tile_format(format);
  const size_t row_bytes = weight_format(format).bytes_of(cols);
  const auto tile_bytes = static_cast<size_t>(tile_layout(tile_of).bytes);
  const int64_t columns = tile_columns(tile_of);
  std::memset(dst, 0, packed_tile_row_bytes(format, cols));
  const auto tile_at = [&](int64_t column) { return dst + static_cast<size_t>(column / columns) * tile_bytes; };
  if (format == Format::kF16 || format == Format::kBF16) {
    for (int64_t k = 0; k < cols; k += columns) {
      pack_halves(tile_of, num_rows, k, std::min(columns, cols - k), src, row_bytes, tile_at(k));
    }
  } else if (format == Format::kF8_G128) {
    for (int64_t k = 0; k < cols; k += BlockF8::kElements) pack_f8_block(num_rows, k, src, row_bytes, tile_at(k));
  } else {
    for (int64_t k = 0; k < cols; k += BlockCodes::kElements) {
      const int64_t count = std::min<int64_t>(BlockCodes::kElements, cols - k);
      pack_block(format, num_rows, k, count, src, row_bytes, tile_at(k));
    }
  }
}

}  // namespace quire
