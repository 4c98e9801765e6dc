// Prefetches the panels that a multiplication will read later. It changes the speed only. math.h says how the files of
// this folder are used.
#pragma once

#include "isa/vec.h"
#include "kernels/kernels.h"
#include "kernels/vector/loops.h"

namespace quire {
namespace {

// A block of a panel that several tiles of tokens read, `bytes` long, `at` bytes into the panel.
struct FetchedBlock {
  int64_t at;
  int64_t bytes;
  int64_t stride;  // between panels
};

// The distance in bytes from the block to the bytes to prefetch while it is multiplied. The first tile reads the whole
// block, so its end must have been prefetched well before: at least one and a half blocks ahead. Beyond the end of the
// panel the bytes belong to the panels after the `count` ones that are multiplied now, not to the neighbouring panel.
inline int64_t ahead_of(const FetchedBlock& block, int count, const MatmulTuning& tuning) {
  const int64_t least = block.bytes * 3 / 2;
  const int64_t distance = least > tuning.fetch_ahead ? least : tuning.fetch_ahead;
  return distance + (block.at + distance >= block.stride ? (count - 1) * block.stride : 0);
}

// The distance where all tokens are one tile; 0: no prefetch.
inline int64_t fetch_distance(const MatmulTuning& tuning, int64_t num_tokens) {
  return num_tokens == 1 ? tuning.one_fetch : tuning.fetch_ahead;
}

// The progress of prefetching in the first of several panels: every round of a multiplication prefetches the same
// number of bytes in each of them.
struct Ahead {
  const std::byte* at;
  const std::byte* due;  // everything before this should be prefetched by now
  int64_t stride;        // bytes between panels
  int64_t per_round;     // bytes
};

inline Ahead fetch_from(const std::byte* first, int64_t stride, int64_t per_round) {
  return {first, first, stride, per_round};
}

// For kPanels panels that are multiplied together: at the end of the first, continues after all of them.
template <int kPanels>
inline void skip_panels(Ahead& ahead, const std::byte* end_of_first) {
  if (kPanels == 1 || ahead.at < end_of_first || ahead.at >= end_of_first + ahead.stride * (kPanels - 1)) return;
  ahead.at += ahead.stride * (kPanels - 1);
  ahead.due += ahead.stride * (kPanels - 1);
}

// Divides `bytes` bytes starting at `from` into equal parts, one for each of num_tiles tiles of tokens.
struct AheadShares {
  const std::byte* from;
  int64_t stride;
  int64_t tile_bytes;
  int64_t per_round;

  AheadShares(const std::byte* first, int64_t panel_stride, int64_t bytes, int64_t num_tiles, int rounds)
      : from(first),
        stride(panel_stride),
        tile_bytes(divide_up(bytes, num_tiles)),
        per_round(divide_up(tile_bytes, rounds)) {}
  Ahead of_tile(int64_t index) const { return fetch_from(from + index * tile_bytes, stride, per_round); }
};

template <int kPanels>
[[gnu::always_inline]] inline void fetch(Ahead& ahead, int rounds = 1) {
  ahead.due += rounds * ahead.per_round;
  for (; ahead.at < ahead.due; ahead.at += 64) {
#pragma GCC unroll 4
    for (int i = 0; i < kPanels; ++i) prefetch_far(ahead.at + i * ahead.stride);
  }
}

}  // namespace
}  // namespace quire
