// The vocabulary of tiles (amx/isa/tiles.h) in plain C++, for tests on machines without AMX: the operations of the
// Intel SDM. Where the processor would raise an exception (a configuration that is not allowed, a tile that is not
// configured, operands whose sizes do not fit), the process ends. Beyond what the processor checks, a second
// configuration while the first one lives ends it too.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/tiles/tile_config.h"

namespace quire {
namespace {

struct EmulatedTile {
  int rows = 0;
  int row_bytes = 0;
  alignas(64) std::byte bytes[kMaxTileRows][kMaxTileRowBytes] = {};
};

struct EmulatedTiles {
  bool configured = false;
  EmulatedTile tile[kNumTiles] = {};
};

inline EmulatedTiles& tiles_of_thread() {
  static thread_local EmulatedTiles tiles;
  return tiles;
}

inline void require_for_tiles(bool allowed) {
  if (!allowed) __builtin_trap();
}

class TileConfig {
 public:
  explicit TileConfig(const TileConfigBytes& config) {
    EmulatedTiles& tiles = tiles_of_thread();
    require_for_tiles(!tiles.configured);
    std::byte bytes[64];
    __builtin_memcpy(bytes, &config, sizeof bytes);
    require_for_tiles(bytes[0] == std::byte{1});
    for (int i = 1; i < 16; ++i) require_for_tiles(bytes[i] == std::byte{0});  // with the start row
    for (int i = 32; i < 48; ++i) require_for_tiles(bytes[i] == std::byte{0});
    for (int i = 56; i < 64; ++i) require_for_tiles(bytes[i] == std::byte{0});
    for (int i = 0; i < kNumTiles; ++i) {
      uint16_t row_bytes;
      __builtin_memcpy(&row_bytes, bytes + 16 + 2 * i, sizeof row_bytes);
      const auto rows = static_cast<int>(bytes[48 + i]);
      require_for_tiles(row_bytes <= kMaxTileRowBytes && rows <= kMaxTileRows && (row_bytes == 0) == (rows == 0));
      tiles.tile[i] = {.rows = rows, .row_bytes = row_bytes};
    }
    tiles.configured = true;
  }
  ~TileConfig() { tiles_of_thread() = {}; }
  TileConfig(const TileConfig&) = delete;
  TileConfig& operator=(const TileConfig&) = delete;
};

inline EmulatedTile& configured_tile(int index) {
  EmulatedTiles& tiles = tiles_of_thread();
  require_for_tiles(tiles.configured && tiles.tile[index].rows > 0);
  return tiles.tile[index];
}

template <int kTile>
inline void tile_zero() {
  EmulatedTile& tile = configured_tile(kTile);
  __builtin_memset(tile.bytes, 0, sizeof tile.bytes);
}

template <int kTile>
inline void tile_load(const void* p, int64_t stride) {
  EmulatedTile& tile = configured_tile(kTile);
  __builtin_memset(tile.bytes, 0, sizeof tile.bytes);
  for (int row = 0; row < tile.rows; ++row) {
    __builtin_memcpy(tile.bytes[row], static_cast<const std::byte*>(p) + row * stride,
                     static_cast<size_t>(tile.row_bytes));
  }
}

template <int kTile>
inline void tile_store(void* p, int64_t stride) {
  const EmulatedTile& tile = configured_tile(kTile);
  for (int row = 0; row < tile.rows; ++row) {
    __builtin_memcpy(static_cast<std::byte*>(p) + row * stride, tile.bytes[row], static_cast<size_t>(tile.row_bytes));
  }
}

// The operands of a product, whose sizes must fit.
struct EmulatedOperands {
  EmulatedTile& c;
  const EmulatedTile& a;
  const EmulatedTile& b;

  EmulatedOperands(int c_index, int a_index, int b_index)
      : c(configured_tile(c_index)), a(configured_tile(a_index)), b(configured_tile(b_index)) {
    require_for_tiles(c_index != a_index && c_index != b_index && a_index != b_index);
    require_for_tiles(c.row_bytes % 4 == 0 && a.row_bytes % 4 == 0 && b.row_bytes % 4 == 0);
    require_for_tiles(c.rows == a.rows && c.row_bytes == b.row_bytes && a.row_bytes == 4 * b.rows);
  }
};

// Element i of a row.
template <typename T>
inline T tile_element(const std::byte* row, int i) {
  T value;
  __builtin_memcpy(&value, row + static_cast<size_t>(i) * sizeof value, sizeof value);
  return value;
}

template <typename A, typename B>
inline void emulate_byte_dot(const EmulatedOperands& x) {
  for (int m = 0; m < x.c.rows; ++m) {
    for (int n = 0; n < x.c.row_bytes / 4; ++n) {
      auto sum = tile_element<uint32_t>(x.c.bytes[m], n);
      for (int k = 0; k < x.a.row_bytes / 4; ++k) {
        for (int i = 4 * k; i < 4 * k + 4; ++i) {
          const int product = tile_element<A>(x.a.bytes[m], i) * tile_element<B>(x.b.bytes[k], 4 * n + i % 4);
          sum += static_cast<uint32_t>(product);
        }
      }
      __builtin_memcpy(x.c.bytes[m] + 4 * n, &sum, sizeof sum);
    }
  }
}

template <int kC, int kA, int kB>
inline void tile_dot_i8i8() {
  emulate_byte_dot<int8_t, int8_t>({kC, kA, kB});
}
template <int kC, int kA, int kB>
inline void tile_dot_i8u8() {
  emulate_byte_dot<int8_t, uint8_t>({kC, kA, kB});
}
template <int kC, int kA, int kB>
inline void tile_dot_u8i8() {
  emulate_byte_dot<uint8_t, int8_t>({kC, kA, kB});
}
template <int kC, int kA, int kB>
inline void tile_dot_u8u8() {
  emulate_byte_dot<uint8_t, uint8_t>({kC, kA, kB});
}

// Zero with the sign of x if x is denormal.
inline float without_denormal(float x) {
  constexpr float kLeastNormal = 0x1p-126f;
  return x > -kLeastNormal && x < kLeastNormal ? __builtin_copysignf(0.0f, x) : x;
}
inline float tile_bf16(const std::byte* row, int i) {
  const uint32_t bits = static_cast<uint32_t>(tile_element<uint16_t>(row, i)) << 16;
  float value;
  __builtin_memcpy(&value, &bits, sizeof value);
  return without_denormal(value);
}

template <int kC, int kA, int kB>
inline void tile_dot_bf16() {
  const EmulatedOperands x(kC, kA, kB);
  for (int m = 0; m < x.c.rows; ++m) {
    for (int n = 0; n < x.c.row_bytes / 4; ++n) {
      float sums[2] = {};
      for (int k = 0; k < x.a.row_bytes / 4; ++k) {
        for (int i = 0; i < 2; ++i) {
          sums[i] = without_denormal(
              __builtin_fmaf(tile_bf16(x.a.bytes[m], 2 * k + i), tile_bf16(x.b.bytes[k], 2 * n + i), sums[i]));
        }
      }
      const float old = without_denormal(tile_element<float>(x.c.bytes[m], n));
      const float sum = without_denormal(old + without_denormal(sums[0] + sums[1]));
      __builtin_memcpy(x.c.bytes[m] + 4 * n, &sum, sizeof sum);
    }
  }
}

}  // namespace
}  // namespace quire
