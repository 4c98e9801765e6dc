// Divides the tokens of the input and the panels of a matrix into those that are multiplied together. math.h says how
// the files of this folder are used.
#pragma once

#include "kernels/vector/loops.h"
#include "kernels/vector/matmul_layout.h"
#include "kernels/vector/tile_shape.h"

namespace quire {
namespace {

// The number of panels that are multiplied together: as many as leave their sums in registers. Memory is then read in
// several streams, and the panels share each broadcast activation.
constexpr int kMaxPanels = 4;
constexpr int panels_together(TileShape tile, int64_t tokens) {
  return 4 * kPanelVectors * tokens <= tile.sums ? 4 : 2 * kPanelVectors * tokens <= tile.sums ? 2 : 1;
}

// Calls body(first, count, index) for tiles of tokens of nearly equal size.
template <typename F>
inline void for_token_tiles(TileShape tile, int64_t num_tokens, F body) {
  const int64_t num_tiles = divide_up(num_tokens, tile.tokens);
  const int64_t tokens = num_tokens / num_tiles;
  const int64_t longer = num_tokens % num_tiles;  // the first `longer` tiles have one token more
  int64_t token = 0;
  for (int64_t i = 0; i < num_tiles; ++i) {
    const int64_t count = tokens + (i < longer ? 1 : 0);
    body(token, static_cast<int>(count), i);
    token += count;
  }
}

// The size of the smallest tile of at least num_tokens tokens, which must be more than one tile.
constexpr int fewest_of_tile(TileShape tile, int num_tokens) {
  return num_tokens / static_cast<int>(divide_up(num_tokens, tile.tokens));
}

// Calls body(first, panels) for `count` panels: as many together as panels_together() says, then the rest one by one.
template <typename F>
inline void for_panels(TileShape tile, int count, int64_t num_tokens, F body) {
  const int together = panels_together(tile, num_tokens < tile.tokens ? num_tokens : tile.tokens);
  int panel = 0;
  for (; panel + together <= count; panel += together) body(panel, together);
  for (; panel < count; ++panel) body(panel, 1);
}

// Calls body.operator()<kPanels, kTokens>() for a tile of [kFewest, kTile.tokens] tokens and the numbers of panels that
// for_panels passes, for one tile of tokens or for several.
template <TileShape kTile, int kFewest, int kTokens = kTile.tokens, typename F>
inline void with_tile(int panels, int tokens, F body) {
  constexpr int kOfOneTile = panels_together(kTile, kTokens);
  constexpr int kOfMany = panels_together(kTile, kTile.tokens);
  if constexpr (kTokens > kFewest) {
    if (tokens < kTokens) return with_tile<kTile, kFewest, kTokens - 1>(panels, tokens, body);
  }
  if constexpr (kOfOneTile > 1) {
    if (panels == kOfOneTile) return body.template operator()<kOfOneTile, kTokens>();
  }
  if constexpr (kOfMany > 1 && kOfMany < kOfOneTile) {
    if (panels == kOfMany) return body.template operator()<kOfMany, kTokens>();
  }
  body.template operator()<1, kTokens>();
}

}  // namespace
}  // namespace quire
