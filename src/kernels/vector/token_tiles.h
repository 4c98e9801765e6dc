// Which rows of the input and panels of a matrix are multiplied together. See math.h for how files of this folder are
// used.
#pragma once

#include "kernels/vector/loops.h"
#include "kernels/vector/matmul_layout.h"
#include "kernels/vector/tile_shape.h"

namespace quire {
namespace {

// Panels that are multiplied together, so that memory is read in several streams and the vectors share each broadcast
// activation: as many as leave their sums in registers.
constexpr int kMostPanels = 4;
constexpr int panels_together(TileShape tile, int64_t tokens) {
  return 4 * kPanelVectors * tokens <= tile.sums ? 4 : 2 * kPanelVectors * tokens <= tile.sums ? 2 : 1;
}

// body(first, count, index) over even tiles of tokens.
template <typename F>
inline void for_token_tiles(TileShape tile, int64_t num_tokens, F body) {
  const int64_t num_tiles = divide_up(num_tokens, tile.tokens);
  const int64_t tokens = num_tokens / num_tiles;
  const int64_t longer = num_tokens % num_tiles;  // so many tiles have a token more
  int64_t token = 0;
  for (int64_t i = 0; i < num_tiles; ++i) {
    const int64_t count = tokens + (i < longer ? 1 : 0);
    body(token, static_cast<int>(count), i);
    token += count;
  }
}

// The smallest tile of so many tokens or more, which are more than one tile.
constexpr int fewest_of_tile(TileShape tile, int num_tokens) {
  return num_tokens / static_cast<int>(divide_up(num_tokens, tile.tokens));
}

// body(first, panels) over `count` panels: as many as go together for these tokens, what is left one by one.
template <typename F>
inline void for_panels(TileShape tile, int count, int64_t num_tokens, F body) {
  const int together = panels_together(tile, num_tokens < tile.tokens ? num_tokens : tile.tokens);
  int panel = 0;
  for (; panel + together <= count; panel += together) body(panel, together);
  for (; panel < count; ++panel) body(panel, 1);
}

// Calls body.operator()<kPanels, kTokens>() for a tile of tokens in [kFewest, tile.tokens] and the panels that
// for_panels gives: of one tile of tokens or of several.
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
