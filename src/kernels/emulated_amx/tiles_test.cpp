// Compares the emulated tiles with plain loops, and tests which configurations and operands they refuse.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "kernels/emulated_amx/emulated_amx.h"
#include "kernels/emulated_amx/isa/tiles.h"
#include "kernels/tiles/table.h"
#include "tensor/half.h"

QUIRE_DECLARE_TILE_TABLE(emulated_amx);

namespace quire {
namespace {

constexpr TileSize kWhole = {kMaxTileRows, kMaxTileRowBytes};

TEST(Tiles, ConfigurationIsTheDocumentedBytes) {
  const TileConfigBytes config = tile_config({{3, 20}, {0, 0}, {16, 64}});
  uint8_t bytes[64];
  std::memcpy(bytes, &config, sizeof bytes);
  uint8_t want[64] = {1};
  want[16] = 20;
  want[20] = 64;
  want[48] = 3;
  want[50] = 16;
  EXPECT_EQ(std::memcmp(bytes, want, sizeof bytes), 0);
}

TEST(Tiles, LoadsAndStoresItsRowsOnly) {
  std::vector<uint8_t> from(16 * 100), to(16 * 100, 7);
  for (size_t i = 0; i < from.size(); ++i) from[i] = static_cast<uint8_t>(i * 31 + 1);
  const TileConfig config(tile_config({{5, 12}}));
  tile_load<0>(from.data(), 100);
  tile_store<0>(to.data(), 90);
  for (size_t i = 0; i < to.size(); ++i) {
    const bool is_stored = i / 90 < 5 && i % 90 < 12;
    ASSERT_EQ(to[i], is_stored ? from[i / 90 * 100 + i % 90] : 7) << i;
  }
  tile_zero<0>();
  tile_store<0>(to.data(), 90);
  EXPECT_EQ(to[90], 0);
}

TEST(Tiles, KnownProductsAreRight) {
  if (emulated_amx_kernels() == nullptr) GTEST_SKIP() << "the emulated tiles need AVX-512, which this machine lacks";
  EXPECT_TRUE(emulated_tiles_are_right());
}

// A round of 2 x 2 products per eight steps.
TEST(Tiles, RoofLoopsCountTheirOperations) {
  if (emulated_amx_kernels() == nullptr) GTEST_SKIP() << "the emulated tiles need AVX-512, which this machine lacks";
  constexpr double kOperations = 3 * 4 * 2.0 * 16 * 16 * 64;
  EXPECT_EQ(emulated_amx::roof_loops().dot(24), kOperations);
  EXPECT_EQ(emulated_amx::cached_dot_loop(24), kOperations);
}

// 3 rows of 8 bytes times 2 rows of 5 words: sizes below the largest, and sums that wrap.
TEST(Tiles, ProductOfBytes) {
  const int8_t a[3][8] = {{-128, 127, 1, 2, 3, 4, 5, 6}, {0, 0, 0, 0, 0, 0, 0, -1}, {9, 8, 7, 6, 5, 4, 3, 2}};
  int8_t b[2][20];
  for (int i = 0; i < 40; ++i) b[i / 20][i % 20] = static_cast<int8_t>(i * 83 - 120);
  int32_t c[3][5], want[3][5];
  for (int m = 0; m < 3; ++m) {
    for (int n = 0; n < 5; ++n) {
      c[m][n] = m == 2 ? std::numeric_limits<int32_t>::max() : 100 * m + n;
      auto sum = static_cast<uint32_t>(c[m][n]);
      for (int k = 0; k < 8; ++k) {
        sum += static_cast<uint32_t>(a[m][k] * static_cast<uint8_t>(b[k / 4][4 * n + k % 4]));
      }
      want[m][n] = static_cast<int32_t>(sum);
    }
  }
  const TileConfig config(tile_config({{3, 20}, {3, 8}, {2, 20}}));
  tile_load<0>(c, sizeof c[0]);
  tile_load<1>(a, sizeof a[0]);
  tile_load<2>(b, sizeof b[0]);
  tile_dot_i8u8<0, 1, 2>();
  tile_store<0>(c, sizeof c[0]);
  EXPECT_EQ(std::memcmp(c, want, sizeof c), 0);
}

float bf16_product(float start, float a0, float b0, float a1, float b1) {
  const uint16_t a[2] = {f32_to_bf16(a0), f32_to_bf16(a1)};
  const uint16_t b[2] = {f32_to_bf16(b0), f32_to_bf16(b1)};
  float c = start;
  const TileConfig config(tile_config({{1, 4}, {1, 4}, {1, 4}}));
  tile_load<0>(&c, 4);
  tile_load<1>(a, 4);
  tile_load<2>(b, 4);
  tile_dot_bf16<0, 1, 2>();
  tile_store<0>(&c, 4);
  return c;
}

// Even and odd elements are separate chains, which are added before C is.
TEST(Tiles, ProductOfBf16SumsInTheDocumentedOrder) {
  EXPECT_EQ(bf16_product(10, 1.5f, 2, -3, 4), 1);
  EXPECT_EQ(bf16_product(1, 0x1p-24f, 1, 0x1p-24f, 1), 1 + 0x1p-23f);
  EXPECT_EQ(bf16_product(0x1p-130f, 0, 0, 0, 0), 0);         // C is denormal
  EXPECT_EQ(bf16_product(0, 0x1p-130f, 0x1p100f, 0, 0), 0);  // A is
  EXPECT_EQ(bf16_product(0, 0x1p-70f, 0x1p-70f, 0, 0), 0);   // the product would be
  EXPECT_EQ(bf16_product(0, 0x1p-63f, 0x1p-63f, 0, 0), 0x1p-126f);
  EXPECT_TRUE(std::isnan(bf16_product(0, std::numeric_limits<float>::infinity(), 0, 0, 0)));
}

TEST(TilesDeathTest, RefusesConfigurationsThatTheProcessorRefuses) {
  EXPECT_DEATH(const TileConfig config(tile_config({{17, 64}})), "");
  EXPECT_DEATH(const TileConfig config(tile_config({{16, 68}})), "");
  EXPECT_DEATH(const TileConfig config(tile_config({{16, 0}})), "");
  TileConfigBytes bytes = tile_config({kWhole});
  bytes.palette = 0;
  EXPECT_DEATH(const TileConfig config(bytes), "");
}

TEST(TilesDeathTest, RefusesOperandsThatTheProcessorRefuses) {
  EXPECT_DEATH(tile_zero<0>(), "");  // without a configuration
  const TileConfig config(tile_config({kWhole, kWhole, kWhole, {16, 32}}));
  EXPECT_DEATH(tile_zero<4>(), "");
  EXPECT_DEATH((tile_dot_i8i8<0, 1, 1>()), "");
  EXPECT_DEATH((tile_dot_i8i8<0, 1, 0>()), "");
  EXPECT_DEATH((tile_dot_bf16<0, 3, 1>()), "");  // 32 bytes of A are 8 rows of B
  EXPECT_DEATH((tile_dot_bf16<0, 1, 3>()), "");
  EXPECT_DEATH(const TileConfig another(tile_config({kWhole})), "");
}

}  // namespace
}  // namespace quire
