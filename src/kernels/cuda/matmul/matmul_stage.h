// The stages in shared memory through which blocks of matmul walk along K, and how they are filled (see
// matmul_tiles.h).
#pragma once

#include "kernels/cuda/matmul/matmul_block.h"
#include "kernels/cuda/matmul/matmul_launch.h"

namespace quire {

inline constexpr int kSpans = 4;
inline constexpr int kMatmulThreads = 256;
// Every device of compute capability 8.0 or later can give a block this much shared memory.
inline constexpr int kMatmulSharedBytes = 99 << 10;

// The shape of a block, which has teams * row_warps * token_warps warps.
struct BlockShape {
  int teams = 0;      // kSpans or 1
  int row_warps = 0;  // warps of a team along the rows of weights
  int token_warps = 0;
  int row_tiles = 0;    // tiles of 16 rows in a warp
  int token_tiles = 0;  // tiles of 8 tokens in a warp

  QUIRE_HOST_DEVICE constexpr int team_tiles() const { return row_warps * row_tiles; }
  QUIRE_HOST_DEVICE constexpr int rows() const { return team_tiles() * kTileRows; }
  QUIRE_HOST_DEVICE constexpr int tokens() const { return token_warps * token_tiles * 8; }
  // Blocks on a multiprocessor; this limits the registers of a thread.
  QUIRE_HOST_DEVICE constexpr int blocks_at_once() const { return row_tiles * token_tiles > 8 ? 1 : 2; }
  // With many sums no registers are left for loading ahead.
  QUIRE_HOST_DEVICE constexpr int chunks_at_once() const { return blocks_at_once() == 1 ? 1 : token_tiles > 2 ? 2 : 4; }
  QUIRE_HOST_DEVICE constexpr int team_threads() const { return row_warps * token_warps * kWarpSize; }
};

constexpr BlockShape block_shape(BlockChoice choice) {
  switch (choice) {
    case BlockChoice::kEightTokens: return {kSpans, 2, 1, 1, 1};
    case BlockChoice::kSixteenTokens: return {kSpans, 2, 1, 1, 2};
    case BlockChoice::kThirtyTwoTokens: return {kSpans, 2, 1, 1, 4};
    case BlockChoice::kSmallSquare: return {1, 4, 2, 1, 4};
    case BlockChoice::kLargeSquare: return {1, 4, 2, 2, 8};
  }
  return {};
}

// The shared memory of a team for one step along K, in bytes. A row of x has its values, then their sums; the stride of
// rows is 32 bytes more than their values, so that four rows fall into different banks. A row of codes is stored as in
// memory.
template <TileFormat kFormat, BlockShape kShape>
struct Stage {
  static constexpr int kTileBytes = tile_layout(kFormat).bytes;
  static constexpr int kColumns = tile_columns(kFormat);
  static constexpr bool kInt8 = reads_int8_rows(kFormat);
  static constexpr int kXRow = kInt8 ? kInt8GroupBytes : 2 * kColumns + 32;
  static constexpr int kX = kShape.team_tiles() * kTileBytes;
  static constexpr int kBytes = kX + kShape.tokens() * kXRow;
  static constexpr int kFitting = kMatmulSharedBytes / (kShape.teams * kBytes);
  static constexpr int kStages = kFitting < 4 ? kFitting : 4;
  // The sums of a block before they are written, [teams, tokens, rows]; the stride has four more floats because of
  // banks.
  static constexpr int kSumsRow = kShape.rows() + 4;
  static constexpr int kSumsBytes = kShape.teams * kShape.tokens() * kSumsRow * static_cast<int>(sizeof(float));
  static constexpr int kRingBytes = kShape.teams * kStages * kBytes;
  static constexpr int kSharedBytes = kRingBytes > kSumsBytes ? kRingBytes : kSumsBytes;
  static_assert(kStages >= 2 && kSharedBytes <= kMatmulSharedBytes);
  static_assert(kShape.teams * kShape.team_threads() == kMatmulThreads);
  static_assert(kInt8 ? kColumns == kInt8Group : kColumns / kCompactGroup * sizeof(float) <= 32);
};

// A thread's share of the copies that fill a team's stages. Addresses that are equal in every step are computed once:
// when there are few products, address arithmetic takes most of the time.
template <TileFormat kFormat, BlockShape kShape>
struct StageFiller {
  using S = Stage<kFormat, kShape>;
  static constexpr int kTilePieces = S::kTileBytes / 16;
  static constexpr int kXPieces = S::kInt8 ? kInt8GroupBytes / 16 : S::kColumns / 8;  // per token
  static constexpr int kSumPieces = kFormat.has_min ? S::kColumns / 64 : 0;           // per token, four sums each
  static constexpr int kTokensAtOnce = kShape.team_threads() / kXPieces;
  static_assert(kShape.team_tiles() * kWarpSize <= kShape.team_threads());  // a warp copies at most one tile

  const std::byte* weights;  // the thread's first piece of the warp's row of tiles
  const std::byte* x;        // its first piece of the row of its first token
  const std::byte* sums;     // its piece of the sums of a token, if it has one
  int64_t x_row_bytes;
  int cols;  // of x, padding included
  int num_tokens;
  int thread;
  bool tile_exists;

  __device__ __forceinline__ StageFiller(const MatmulJob& job, const MatmulBlock& block, int num_steps, int my_thread)
      : x_row_bytes(compact_row_bytes(job.cols)),
        cols(static_cast<int>(compact_columns(job.cols))),
        num_tokens(block.num_tokens),
        thread(my_thread) {
    const MatmulPart& part = job.parts[block.part];
    const int64_t tile_row = block.first_row / kTileRows + thread / kWarpSize;
    tile_exists = tile_row * kTileRows < part.rows;
    weights =
        weights_of(part, block) + (tile_exists ? tile_row : 0) * num_steps * S::kTileBytes + thread % kWarpSize * 16;
    const std::byte* rows = job.x + block.first_token * x_row_bytes;
    x = rows + (S::kInt8 ? compact_int8_offset(cols) : 0) + thread / kXPieces * x_row_bytes + thread % kXPieces * 16;
    if constexpr (kSumPieces > 0) {
      sums = rows + thread / kSumPieces * x_row_bytes + compact_sums_offset(cols) + thread % kSumPieces * 16;
    }
  }

  // Starts the copies of a step along K.
  __device__ __forceinline__ void fill(int step, std::byte* stage) const {
    if (thread / kWarpSize < kShape.team_tiles()) {
      const std::byte* from = weights + static_cast<int64_t>(step) * S::kTileBytes;
      std::byte* to = stage + thread / kWarpSize * S::kTileBytes + thread % kWarpSize * 16;
#pragma unroll
      for (int piece = 0; piece < kTilePieces; piece += kWarpSize) {
        if (piece + thread % kWarpSize < kTilePieces) cp_async_16(to + piece * 16, from + piece * 16, tile_exists);
      }
    }
    const int column = step * S::kColumns;
    const bool has_column = S::kInt8 || column + thread % kXPieces * 8 < cols;
    const std::byte* from = x + (S::kInt8 ? step * kInt8GroupBytes : 2 * column);
    std::byte* to = stage + S::kX + thread / kXPieces * S::kXRow + thread % kXPieces * 16;
    if constexpr (kTokensAtOnce * kXPieces < kShape.team_threads()) {
      if (thread >= kTokensAtOnce * kXPieces) return;
    }
#pragma unroll
    for (int first = 0; first < kShape.tokens(); first += kTokensAtOnce) {
      const int token = first + thread / kXPieces;
      if (token < kShape.tokens()) cp_async_16(to, from, has_column && token < num_tokens);
      from += kTokensAtOnce * x_row_bytes;
      to += kTokensAtOnce * S::kXRow;
    }
    if constexpr (kSumPieces > 0) {
      static_assert(kShape.tokens() * kSumPieces <= kShape.team_threads());
      const int token = thread / kSumPieces;
      const int piece = thread % kSumPieces;
      if (token < kShape.tokens()) {
        cp_async_16(stage + S::kX + token * S::kXRow + 2 * S::kColumns + piece * 16,
                    sums + column / kCompactGroup * sizeof(float), column + piece * 64 < cols && token < num_tokens);
      }
    }
  }
};

}  // namespace quire
