// Known products on the tiles of this machine.
#include "isa/tiles.h"
#include "kernels/tiles/parts.h"

namespace quire::QUIRE_TABLE {
namespace {

constexpr int kSide = kMaxTileRows;  // rows of every tile and words of a row
using TileOfBytes = std::byte[kSide][kMaxTileRowBytes];

struct Operands {
  alignas(64) TileOfBytes a;
  alignas(64) TileOfBytes b;
};

// C starts from 1, so that the product must add to it.
template <typename Sum, void (*dot)()>
bool agrees(const Operands& x, const Sum (&want)[kSide][kSide]) {
  constexpr TileSize kWhole = {kMaxTileRows, kMaxTileRowBytes};
  static constexpr TileConfigBytes kConfig = tile_config({kWhole, kWhole, kWhole});
  alignas(64) Sum c[kSide][kSide];
  for (auto& row : c) {
    for (Sum& value : row) value = 1;
  }
  {
    const TileConfig config(kConfig);
    tile_load<0>(c, sizeof c[0]);
    tile_load<1>(x.a, sizeof x.a[0]);
    tile_load<2>(x.b, sizeof x.b[0]);
    dot();
    tile_store<0>(c, sizeof c[0]);
  }
  return __builtin_memcmp(c, want, sizeof c) == 0;
}

template <typename A, typename B, void (*dot)()>
bool bytes_agree() {
  Operands x;
  for (int row = 0; row < kSide; ++row) {
    for (int i = 0; i < kMaxTileRowBytes; ++i) {
      x.a[row][i] = static_cast<std::byte>(37 * row + 11 * i + 5);
      x.b[row][i] = static_cast<std::byte>(53 * row - 29 * i + 201);
    }
  }
  int32_t want[kSide][kSide];
  for (int m = 0; m < kSide; ++m) {
    for (int n = 0; n < kSide; ++n) {
      want[m][n] = 1;
      for (int k = 0; k < kMaxTileRowBytes; ++k) {
        want[m][n] += static_cast<A>(x.a[m][k]) * static_cast<B>(x.b[k / 4][4 * n + k % 4]);
      }
    }
  }
  return agrees<int32_t, dot>(x, want);
}

// Whole numbers, whose sums are exact in any order.
constexpr float a_value(int m, int k) { return static_cast<float>((7 * m + 3 * k) % 31 - 15); }
constexpr float b_value(int k, int n) { return static_cast<float>((5 * k + 11 * n) % 29 - 14); }

void put_bf16(std::byte* row, int at, float value) {
  __builtin_memcpy(row + 2 * at, reinterpret_cast<std::byte*>(&value) + 2, 2);
}

bool bf16_agrees() {
  Operands x;
  for (int row = 0; row < kSide; ++row) {
    for (int i = 0; i < 2 * kSide; ++i) {
      put_bf16(x.a[row], i, a_value(row, i));
      put_bf16(x.b[row], i, b_value(2 * row + i % 2, i / 2));
    }
  }
  float want[kSide][kSide];
  for (int m = 0; m < kSide; ++m) {
    for (int n = 0; n < kSide; ++n) {
      want[m][n] = 1;
      for (int k = 0; k < 2 * kSide; ++k) want[m][n] += a_value(m, k) * b_value(k, n);
    }
  }
  return agrees<float, tile_dot_bf16<0, 1, 2>>(x, want);
}

}  // namespace

bool tiles_are_right() {
  return bytes_agree<int8_t, int8_t, tile_dot_i8i8<0, 1, 2>>() &&
         bytes_agree<int8_t, uint8_t, tile_dot_i8u8<0, 1, 2>>() &&
         bytes_agree<uint8_t, int8_t, tile_dot_u8i8<0, 1, 2>>() &&
         bytes_agree<uint8_t, uint8_t, tile_dot_u8u8<0, 1, 2>>() && bf16_agrees();
}

}  // namespace quire::QUIRE_TABLE
