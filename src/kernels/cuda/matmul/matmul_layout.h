// The layout of weight matrices in device memory: pack writes it and matmul reads it.
//
// A matrix is divided into tiles of kTileRows rows and as many columns as have 1024 bytes of codes: 128 columns of
// 4-bit codes, 64 of 8 bits, 32 of 16 bits. The tiles of 16 rows follow each other along the columns, so that a warp
// that walks along K reads one stream. Rows and columns beyond the matrix are zeros with scale zero.
//
// A tile has its codes and then, each as [kTileRows][values of a row in the tile], the numbers of weight = scale *
// (code - zero) + min Codes stay the small integers of the file; they are exact in bf16 too, and scales are applied to
// float32 sums.
//
// Codes are stored in the order in which the lanes of a warp read them for mma.m16n8k16, with weights as operand A (PTX
// manual, "Matrix fragments for mma.m16n8k16"; reordering in advance is Marlin's idea, arXiv 2408.11743). An mma takes
// 16 neighbouring columns; lane 4 * g + t holds rows g and g + 8 of columns 4 * t to 4 * t + 3 (the manual's columns
// 2t, 2t + 1, 2t + 8 and 2t + 9; the order of columns inside an mma is free as long as both operands agree). kDotInt8
// is for mma.m16n8k32 of integers, which takes twice as many columns; the four codes of a row lie together.
// Plain data for host and device; any thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "kernels/cuda/matmul/compact_rows.h"
#include "tensor/format.h"

namespace quire {

inline constexpr int kTileRows = 16;
inline constexpr int kTileCodeBytes = 1024;
inline constexpr int kMmaColumns = 16;    // the codes of this many columns lie together
inline constexpr int kChunkColumns = 32;  // the columns of x, padded with zeros, are a multiple of this

enum class CodeKind : uint8_t {
  kInt4,     // code - zero
  kE2M1,     // OCP E2M1
  kLevels,   // kIQ4Levels[code]
  kInt8,     // two's complement
  kDotInt8,  // likewise, multiplied by int8 rows
  kE4M3,     // OCP E4M3
  kBF16,
  kF16,
};

enum class ScaleKind : uint8_t {
  kNone,
  kF16,
  kF32,
  kE8M0,  // 2^(e - 127)
  kSub,   // one f16 for a tile's row times an integer of 8 bits for each group
};

struct TileFormat {
  CodeKind codes = CodeKind::kInt4;
  ScaleKind scales = ScaleKind::kNone;
  int group = 0;           // columns that share a scale: 16, 32 or all of a tile
  int zero = 0;            // the zero point of kInt4 without has_zeros
  bool has_zeros = false;  // kInt4: a byte for each group
  bool has_min = false;    // of the same kind as the scale, kF16 or kSub

  bool operator==(const TileFormat&) const = default;
};

QUIRE_HOST_DEVICE constexpr int code_bits(TileFormat format) {
  return format.codes < CodeKind::kInt8 ? 4 : format.codes < CodeKind::kBF16 ? 8 : 16;
}
QUIRE_HOST_DEVICE constexpr int tile_columns(TileFormat format) {
  return kTileCodeBytes * 8 / kTileRows / code_bits(format);
}
// The bytes of codes of a tile's rows in the columns of one mma.
QUIRE_HOST_DEVICE constexpr int mma_code_bytes(TileFormat format) {
  return kTileRows * kMmaColumns * code_bits(format) / 8;
}

QUIRE_HOST_DEVICE constexpr bool reads_int8_rows(TileFormat format) { return format.codes == CodeKind::kDotInt8; }

// Offsets in a tile, in bytes.
struct TileLayout {
  int groups = 0;  // of a row
  int scales = 0;  // float16, float32 or E8M0
  int scales_per_row = 0;
  int scale_bytes = 0;  // of one
  int mins = 0;         // f16
  int sub_scales = 0;   // int8 + 128
  int sub_mins = 0;     // likewise
  int zeros = 0;
  int bytes = 0;  // of the tile
};

QUIRE_HOST_DEVICE constexpr TileLayout tile_layout(TileFormat format) {
  TileLayout layout;
  int at = kTileCodeBytes;
  if (format.scales != ScaleKind::kNone) {
    const bool is_sub = format.scales == ScaleKind::kSub;
    layout.groups = tile_columns(format) / format.group;
    layout.scales_per_row = is_sub ? 1 : layout.groups;
    layout.scale_bytes = format.scales == ScaleKind::kF32 ? 4 : format.scales == ScaleKind::kE8M0 ? 1 : 2;
    layout.scales = at;
    at += kTileRows * layout.scales_per_row * layout.scale_bytes;
    layout.mins = at;
    if (format.has_min) at += kTileRows * layout.scales_per_row * 2;
    layout.sub_scales = at;
    if (is_sub) at += kTileRows * layout.groups;
    layout.sub_mins = at;
    if (is_sub && format.has_min) at += kTileRows * layout.groups;
    layout.zeros = at;
    if (format.has_zeros) at += kTileRows * layout.groups;
  }
  layout.bytes = (at + 15) / 16 * 16;
  return layout;
}

// The place of an element's code among the codes of its mma; the codes of the next mma follow.
struct CodePosition {
  int byte = 0;
  int shift = 0;  // of 4-bit codes
};

constexpr CodePosition code_position(CodeKind codes, int row, int column) {
  const int bits = code_bits({.codes = codes});
  const int lane = row % 8 * 4 + column / 4;
  if (codes == CodeKind::kDotInt8) return {lane * bits + row / 8 * 4 + column % 4, 0};
  const int pair = column % 4 / 2;
  const int fragment = 2 * pair + row / 8;  // a0 to a3 of the mma
  const int element = column % 2;
  const int first = lane * bits;  // 8 codes of so many bits for a lane
  if (bits == 16) return {first + fragment * 4 + element * 2, 0};
  if (bits == 8) return {first + pair * 4 + element * 2 + row / 8, 0};
  const int nibble = fragment + 4 * element;
  return {first + nibble / 2, nibble % 2 * 4};
}

struct MatrixTile {
  Format format;
  TileFormat tile;
};

// Every format except F32, which keeps the layout of files and has a separate kernel.
inline constexpr std::array<MatrixTile, 19> kMatrixTiles = {{
    {Format::kF16, {.codes = CodeKind::kF16}},
    {Format::kBF16, {.codes = CodeKind::kBF16}},
    {Format::kQ8_0, {.codes = CodeKind::kInt8, .scales = ScaleKind::kF16, .group = 32}},
    {Format::kQ4_0, {.scales = ScaleKind::kF16, .group = 32, .zero = 8}},
    {Format::kQ4_1, {.scales = ScaleKind::kF16, .group = 32, .has_min = true}},
    {Format::kQ5_0, {.codes = CodeKind::kInt8, .scales = ScaleKind::kF16, .group = 32}},
    {Format::kQ5_1, {.codes = CodeKind::kInt8, .scales = ScaleKind::kF16, .group = 32, .has_min = true}},
    {Format::kQ2_K, {.scales = ScaleKind::kSub, .group = 16, .has_min = true}},
    {Format::kQ3_K, {.scales = ScaleKind::kSub, .group = 16, .zero = 4}},
    {Format::kQ4_K, {.scales = ScaleKind::kSub, .group = 32, .has_min = true}},
    {Format::kQ5_K, {.codes = CodeKind::kInt8, .scales = ScaleKind::kSub, .group = 32, .has_min = true}},
    {Format::kQ6_K, {.codes = CodeKind::kInt8, .scales = ScaleKind::kSub, .group = 16}},
    {Format::kIQ4_NL, {.codes = CodeKind::kLevels, .scales = ScaleKind::kF16, .group = 32}},
    {Format::kIQ4_XS, {.codes = CodeKind::kLevels, .scales = ScaleKind::kSub, .group = 32}},
    {Format::kMXFP4, {.codes = CodeKind::kE2M1, .scales = ScaleKind::kE8M0, .group = 32}},
    {Format::kI4_G32, {.scales = ScaleKind::kF16, .group = 32, .has_zeros = true}},
    {Format::kI4_G128, {.scales = ScaleKind::kF16, .group = 128, .has_zeros = true}},
    {Format::kI8_G128, {.codes = CodeKind::kDotInt8, .scales = ScaleKind::kF16, .group = 64}},
    {Format::kF8_G128, {.codes = CodeKind::kE4M3, .scales = ScaleKind::kF32, .group = 64}},
}};

constexpr std::optional<TileFormat> tile_format(Format format) {
  for (const MatrixTile& entry : kMatrixTiles) {
    if (entry.format == format) return entry.tile;
  }
  return std::nullopt;
}

QUIRE_HOST_DEVICE constexpr int64_t tiles_along(int64_t cols, TileFormat format) {
  return (cols + tile_columns(format) - 1) / tile_columns(format);
}

}  // namespace quire
