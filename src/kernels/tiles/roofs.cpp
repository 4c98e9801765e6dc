// The loops of roof_loops.h on tiles: products of int8 are those of tiles, the rest is the base's.
#include "kernels/roof_loops.h"

#include "isa/tiles.h"
#include "kernels/tiles/parts.h"

namespace quire::QUIRE_TABLE {
namespace {

constexpr int kSumTiles = 4;  // independent, as many as hide the latency of a product

// 2 x 2 products of whole tiles of zeros, from registers.
double tile_dot_loop(int64_t num_steps) {
  constexpr TileSize kWhole = {kMaxTileRows, kMaxTileRowBytes};
  static constexpr TileConfigBytes kConfig =
      tile_config({kWhole, kWhole, kWhole, kWhole, kWhole, kWhole, kWhole, kWhole});
  constexpr int64_t kStepsOfRound = 8;  // a round of products takes longer than a step of the vectors' loops
  const int64_t rounds = num_steps / kStepsOfRound;
  const TileConfig config(kConfig);
  for (int64_t i = 0; i < rounds; ++i) {
    tile_dot_i8i8<0, 4, 6>();
    tile_dot_i8i8<1, 4, 7>();
    tile_dot_i8i8<2, 5, 6>();
    tile_dot_i8i8<3, 5, 7>();
  }
  return 2.0 * kMaxTileRows * (kMaxTileRowBytes / 4.0) * kMaxTileRowBytes * kSumTiles * static_cast<double>(rounds);
}

}  // namespace

RoofLoops roof_loops() {
  RoofLoops loops = QUIRE_BASE::roof_loops();
  loops.dot = tile_dot_loop;
  return loops;
}

}  // namespace quire::QUIRE_TABLE
