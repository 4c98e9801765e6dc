// The sizes of the tiles, as the 64 bytes that LDTILECFG reads: palette 1 of Intel AMX (Intel SDM, volume 1,
// "Programming with Intel AMX").
#pragma once

#include <cstdint>

namespace quire {
namespace {

constexpr int kNumTiles = 8;
constexpr int kMaxTileRows = 16;
constexpr int kMaxTileRowBytes = 64;

// Both are 0 for a tile that is not used. A row consists of words of four bytes.
struct TileSize {
  int rows = 0;
  int row_bytes = 0;
};

struct alignas(64) TileConfigBytes {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {};  // of tiles 0 to 7; the palette has no others
  uint8_t rows[16] = {};
};
static_assert(sizeof(TileConfigBytes) == 64);

// Of the first tiles; the others are not used.
template <int kSizes>
constexpr TileConfigBytes tile_config(const TileSize (&sizes)[kSizes]) {
  static_assert(kSizes <= kNumTiles);
  TileConfigBytes config;
  for (int i = 0; i < kSizes; ++i) {
    config.row_bytes[i] = static_cast<uint16_t>(sizes[i].row_bytes);
    config.rows[i] = static_cast<uint8_t>(sizes[i].rows);
  }
  return config;
}

}  // namespace
}  // namespace quire
