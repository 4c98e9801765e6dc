// Attention by products of bf16 on tiles: 16 rows, 32 columns and 32 terms of a sum at a time. The walk over positions
// is that of the base.
//
// An element of a product is a chain over groups of 32 terms in ascending order; within a group the tile
// sums even and odd terms separately. Groups are counted from the first dimension of K and from the first position of a
// KV tile of V, and rows do not mix, so that one row has the bits of many.
#include "isa/bf16.h"
#include "isa/tiles.h"
#include "isa/vec.h"
#include "kernels/tiles/parts.h"
#include "kernels/tiles/tile_config.h"
#include "kernels/vector/attention_parts.h"
#include "kernels/vector/pair_rows.h"

namespace quire::QUIRE_TABLE {
namespace {

constexpr int kStrip = 2 * kMaxTileRows;       // columns of a product: two tiles of B
constexpr int kGroupPairs = kKvBlockSize / 2;  // pairs of terms of one tile product
constexpr int64_t kLeftBytes = kLeftStride * 4;

// Tiles 0 and 1 are sums, 2 is the left side, 3 and 4 are the right one.
constexpr TileSize kLeftTile = {kLanes, kMaxTileRowBytes};
constexpr TileSize kRightTile = {kMaxTileRows, kMaxTileRowBytes};
constexpr TileConfigBytes kConfig = tile_config({kLeftTile, kLeftTile, kLeftTile, kRightTile, kRightTile});

void within_tiles(void (*body)(const void* context), const void* context) {
  const TileConfig config(kConfig);
  body(context);
}

// Adds the products of one group of terms. `right`: [kGroupPairs, kStrip] pairs, rows `stride` bytes apart.
void add_group(const int32_t* left, const int32_t* right, int64_t stride) {
  tile_load<2>(left, kLeftBytes);
  tile_load<3>(right, stride);
  tile_load<4>(right + kMaxTileRows, stride);
  tile_dot_bf16<0, 2, 3>();
  tile_dot_bf16<1, 2, 4>();
}

// The right side of a strip in the form that tiles read.
struct Strip {
  const int32_t* part[kStripeTiles];  // [part_depth / 2, kStrip] pairs
  int64_t stride;                     // words between rows
};

// The pairs of a strip of tiles that lie in the cache, in `room`; prefetches the same places of later tiles.
void strip_in_room(Format format, const TileProduct& t, int column, int32_t* room, Strip& strip) {
  with_source(format, [&t, &strip, column, room](auto source) {
    using Source = decltype(source);
    using Element = typename Source::Element;
    int32_t* words = room;
    for (int part = 0, rest = t.depth; rest > 0; ++part, rest -= t.part_depth) {
      const auto* right = static_cast<const Element*>(t.right[part]) + column;
      const auto* next = static_cast<const Element*>(t.next[part]) + column;
      const int depth = rest < t.part_depth ? rest : t.part_depth;
      strip.part[part] = words;
      int k = 0;
      for (; k < depth; k += 2, words += kStrip, right += 2 * t.right_stride, next += 2 * t.right_stride) {
        prefetch_far(next);
        prefetch_far(next + t.right_stride);
        rows_to_pairs<Source>(right, k + 1 < depth ? right + t.right_stride : nullptr, kStrip, words);
      }
      for (; k % kKvBlockSize != 0; k += 2, words += kStrip) {
        for (int i = 0; i < kStrip; i += kLanes) store_bytes(words + i, set1_byte(0));
      }
    }
  });
  strip.stride = kStrip;
}

void multiply_strip(const TileProduct& t, int rows, int column, const Strip& strip) {
  alignas(64) float sums[kLanes][kStrip];
  for (int r = 0; r < rows; ++r) {
    const float* const c = t.c + r * t.c_stride + column;
    for (int i = 0; i < kStrip; i += kLanes) {
      store(sums[r] + i, t.shrink == nullptr ? set1(0) : mul(load(c + i), set1(t.shrink[r])));
    }
  }
  tile_load<0>(sums[0], sizeof sums[0]);  // rows after `rows` hold anything
  tile_load<1>(sums[0] + kMaxTileRows, sizeof sums[0]);
  const auto* left = static_cast<const int32_t*>(t.left);
  for (int part = 0, rest = t.depth; rest > 0; ++part, rest -= t.part_depth) {
    const int depth = rest < t.part_depth ? rest : t.part_depth;
    for (int pair = 0; 2 * pair < depth; pair += kGroupPairs, left += kGroupPairs) {
      add_group(left, strip.part[part] + pair * strip.stride, strip.stride * 4);
    }
  }
  tile_store<0>(sums[0], sizeof sums[0]);
  tile_store<1>(sums[0] + kMaxTileRows, sizeof sums[0]);
  for (int r = 0; r < rows; ++r) {
    float* const c = t.c + r * t.c_stride + column;
    for (int i = 0; i < kStrip; i += kLanes) store(c + i, load(sums[r] + i));
  }
}

void multiply_on_tiles(Format format, const TileProduct& t, int rows) {
  alignas(64) int32_t room[kMaxHeadDim / 2 * kStrip];  // more than the pairs of a stripe of V
  static_assert(kMaxHeadDim >= kStripeTiles * kKvBlockSize);
  const bool is_wide = t.next[0] == nullptr;
  for (int column = 0; column < t.columns; column += kStrip) {
    Strip strip = {};
    if (is_wide) {
      for (int part = 0; part < kStripeTiles; ++part) {
        if (t.right[part] != nullptr) strip.part[part] = static_cast<const int32_t*>(t.right[part]) + column;
      }
      strip.stride = t.right_stride;
    } else {
      strip_in_room(format, t, column, room, strip);
    }
    multiply_strip(t, rows, column, strip);
  }
}

constexpr AttentionProducts kTileProducts = {.row_tile = kLanes,
                                             .column_step = kStrip,
                                             .keeps_f32 = false,
                                             .narrow = narrow_to_bf16,
                                             .widen = widen_to_pairs,
                                             .multiply = multiply_on_tiles,
                                             .within = within_tiles};

void attention_on_tiles(const Exec& exec, const AttentionArgs& args) { QUIRE_BASE::attend(exec, args, kTileProducts); }

}  // namespace

void override_attention_on_tiles(Kernels& table) { table.attention = attention_on_tiles; }

}  // namespace quire::QUIRE_TABLE
