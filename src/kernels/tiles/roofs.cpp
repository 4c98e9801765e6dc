// The loops of roof_loops.h on tiles: products of int8 are those of tiles, the rest is the base's.
#include "kernels/roof_loops.h"

#include "isa/tiles.h"
#include "kernels/tiles/parts.h"

namespace quire::QUIRE_TABLE {
namespace {

constexpr TileSize kWhole = {kMaxTileRows, kMaxTileRowBytes};
constexpr TileConfigBytes kConfig = tile_config({kWhole, kWhole, kWhole, kWhole, kWhole, kWhole, kWhole, kWhole});
constexpr int kTileBytes = kMaxTileRows * kMaxTileRowBytes;

// A round is 2 x 2 products, which are independent and so many that they hide their latency. It takes longer than a
// step of the vectors' loops.
constexpr int64_t kStepsOfRound = 8;
constexpr double kOperationsOfRound = 2.0 * 4 * kTileBytes * kMaxTileRows;

void multiply_round() {
  tile_dot_i8i8<0, 4, 6>();
  tile_dot_i8i8<1, 4, 7>();
  tile_dot_i8i8<2, 5, 6>();
  tile_dot_i8i8<3, 5, 7>();
}

double tile_dot_loop(int64_t num_steps) {
  const int64_t rounds = num_steps / kStepsOfRound;
  const TileConfig config(kConfig);
  for (int64_t i = 0; i < rounds; ++i) multiply_round();
  return kOperationsOfRound * static_cast<double>(rounds);
}

}  // namespace

double cached_dot_loop(int64_t num_steps) {
  constexpr int64_t kBytes = 256 << 10;  // beyond a first-level cache, well within a second
  alignas(64) std::byte memory[kBytes];
  __builtin_memset(memory, 1, sizeof memory);
  const int64_t rounds = num_steps / kStepsOfRound;
  const TileConfig config(kConfig);
  int64_t at = 0;
  for (int64_t i = 0; i < rounds; ++i, at = (at + 4 * kTileBytes) % kBytes) {
    tile_load<4>(memory + at, kMaxTileRowBytes);
    tile_load<5>(memory + at + kTileBytes, kMaxTileRowBytes);
    tile_load<6>(memory + at + 2 * kTileBytes, kMaxTileRowBytes);
    tile_load<7>(memory + at + 3 * kTileBytes, kMaxTileRowBytes);
    multiply_round();
  }
  return kOperationsOfRound * static_cast<double>(rounds);
}

RoofLoops roof_loops() {
  RoofLoops loops = QUIRE_BASE::roof_loops();
  loops.dot = tile_dot_loop;
  return loops;
}

}  // namespace quire::QUIRE_TABLE
