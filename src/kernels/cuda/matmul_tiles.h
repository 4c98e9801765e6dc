// The tensor-core matmul of CUDA: packed tiles of weights (matmul_layout.h) times compact rows (compact_rows.h).
//
// y^T = W x^T: 16 rows of weights are the rows of mma.m16n8k16, 8 tokens its columns, so a few tokens cost no more than
// they must. Codes become exact bf16 in registers; products of a group are summed in float32 by the tensor cores and
// then multiplied by the group's scale, so weights are never rounded.
//
// The order of every sum is a matter of the matrix alone: K is cut into kSpans spans of whole tiles; inside one, groups
// are added one after the other; spans are added in order. A block walks K with a ring of stages in shared memory that
// cp.async fills ahead. Blocks come in shapes that differ in who adds which span:
//   few tokens   kSpans teams of warps walk one span each, so that little work fills many multiprocessors
//   many tokens  one team walks all of them, so that a stage serves more products
// The bits are the same, which shape runs is a matter of speed.
#pragma once

#include "kernels/cuda/matmul_block.h"
#include "kernels/cuda/matmul_decode.h"
#include "kernels/cuda/matmul_launch.h"

namespace quire {

inline constexpr int kSpans = 4;
inline constexpr int kMatmulThreads = 256;
// All devices from compute capability 8.0 on give a block so much shared memory.
inline constexpr int kMatmulSharedBytes = 99 << 10;

// Warps of a block: teams * row_warps * token_warps.
struct BlockShape {
  int teams = 0;      // kSpans or 1
  int row_warps = 0;  // of a team
  int token_warps = 0;
  int row_tiles = 0;    // of a warp, 16 rows each
  int token_tiles = 0;  // of a warp, 8 tokens each

  QUIRE_HOST_DEVICE constexpr int team_tiles() const { return row_warps * row_tiles; }
  QUIRE_HOST_DEVICE constexpr int rows() const { return team_tiles() * kTileRows; }
  QUIRE_HOST_DEVICE constexpr int tokens() const { return token_warps * token_tiles * 8; }
  // On a multiprocessor; bounds the registers of a thread.
  QUIRE_HOST_DEVICE constexpr int blocks_at_once() const { return row_tiles * token_tiles > 8 ? 1 : 2; }
  // Many sums leave no registers to look ahead with.
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

// What a team has in shared memory for one step along K, in bytes. A row of x is its values, then their sums; rows are
// 32 bytes more than their values apart, so that four of them lie in different banks.
template <TileFormat kFormat, BlockShape kShape>
struct Stage {
  static constexpr int kTileBytes = tile_layout(kFormat).bytes;
  static constexpr int kColumns = tile_columns(kFormat);
  static constexpr int kXRow = 2 * kColumns + 32;
  static constexpr int kX = kShape.team_tiles() * kTileBytes;
  static constexpr int kBytes = kX + kShape.tokens() * kXRow;
  static constexpr int kFitting = kMatmulSharedBytes / (kShape.teams * kBytes);
  static constexpr int kStages = kFitting < 4 ? kFitting : 4;
  // The sums of a block on their way out, [teams, tokens, rows]; four more apart, for the sake of banks.
  static constexpr int kSumsRow = kShape.rows() + 4;
  static constexpr int kSumsBytes = kShape.teams * kShape.tokens() * kSumsRow * static_cast<int>(sizeof(float));
  static constexpr int kRingBytes = kShape.teams * kStages * kBytes;
  static constexpr int kSharedBytes = kRingBytes > kSumsBytes ? kRingBytes : kSumsBytes;
  static_assert(kStages >= 2 && kSharedBytes <= kMatmulSharedBytes);
  static_assert(kShape.teams * kShape.team_threads() == kMatmulThreads);
  static_assert(kColumns / kCompactGroup * sizeof(float) <= 32);
};

// Where a warp stands.
struct MatmulWarp {
  int team = 0;
  int row_warp = 0;
  int token_warp = 0;
  int lane = 0;
};

// A thread's share of the copies that fill a team's stages. What does not change from step to step is computed once:
// where little is computed, address arithmetic is what costs.
template <TileFormat kFormat, BlockShape kShape>
struct StageFiller {
  using S = Stage<kFormat, kShape>;
  static constexpr int kTilePieces = S::kTileBytes / 16;
  static constexpr int kXPieces = S::kColumns / 8;                           // of a token
  static constexpr int kSumPieces = kFormat.has_min ? S::kColumns / 64 : 0;  // likewise, four sums each
  static constexpr int kTokensAtOnce = kShape.team_threads() / kXPieces;
  static_assert(kShape.team_tiles() * kWarpSize <= kShape.team_threads());  // a warp copies at most one tile

  const std::byte* weights;  // the thread's first piece of the warp's row of tiles
  const std::byte* x;        // its first piece of the row of its first token
  const std::byte* sums;     // its piece of the sums of a token, if it has one
  int64_t x_row_bytes;
  int cols;  // of x, with the zeros behind them
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
    x = rows + thread / kXPieces * x_row_bytes + thread % kXPieces * 16;
    if constexpr (kSumPieces > 0) {
      sums = rows + thread / kSumPieces * x_row_bytes + compact_sums_offset(cols) + thread % kSumPieces * 16;
    }
  }

  // Begins the copies of a step along K.
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
    const bool has_column = column + thread % kXPieces * 8 < cols;
    const std::byte* from = x + 2 * column;
    std::byte* to = stage + S::kX + thread / kXPieces * S::kXRow + thread % kXPieces * 16;
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

// acc += one row of tiles * the warp's tokens, over `kCount` mmas (of 16 columns) that share the scales of their group,
// from half `kHalf` of the chunk at `chunk` on. b: the tokens' fragments of the chunk.
template <TileFormat kFormat, BlockShape kShape, int kHalf, int kCount>
__device__ __forceinline__ void add_group(const std::byte* tile, const std::byte* x, int chunk, int lane,
                                          const uint32_t (&b)[kShape.token_tiles][2][2],
                                          float (&acc)[kShape.token_tiles][4]) {
  using S = Stage<kFormat, kShape>;
  constexpr int kFragments = num_fragments(kFormat);
  const int row = lane / 4;
  const int column = chunk + kHalf * kMmaColumns;
  uint32_t zeros[2] = {};
  if constexpr (kFormat.codes == CodeKind::kInt4) {
    zeros[0] = group_zero<kFormat>(tile, row, column);
    zeros[1] = group_zero<kFormat>(tile, row + 8, column);
  }
  uint32_t a[kCount][kFragments][4];
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    decode_fragments<kFormat>(tile + (column / kMmaColumns + i) * mma_code_bytes(kFormat), lane, zeros, a[i]);
  }
  GroupScale scales[2] = {};
  if constexpr (kFormat.scales != ScaleKind::kNone) {
    scales[0] = group_scale<kFormat>(tile, row, column);
    scales[1] = group_scale<kFormat>(tile, row + 8, column);
  }
#pragma unroll
  for (int n = 0; n < kShape.token_tiles; ++n) {
    float group[4] = {};
    float(&sum)[4] = kFormat.scales == ScaleKind::kNone ? acc[n] : group;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
#pragma unroll
      for (int f = 0; f < kFragments; ++f) mma_bf16(sum, a[i][f], b[n][kHalf + i]);
    }
    if constexpr (kFormat.scales != ScaleKind::kNone) {
#pragma unroll
      for (int i = 0; i < 4; ++i) acc[n][i] = fmaf(scales[i / 2].scale, group[i], acc[n][i]);
    }
    if constexpr (kFormat.has_min) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const std::byte* x_row = x + (n * 8 + lane % 4 * 2 + i % 2) * S::kXRow;
        const float* of_x = reinterpret_cast<const float*>(x_row + 2 * S::kColumns) + column / kCompactGroup;
        acc[n][i] = fmaf(scales[i / 2].min, kCount == 2 ? of_x[0] + of_x[1] : of_x[0], acc[n][i]);
      }
    }
  }
}

// acc += the warp's tiles of a stage * its tokens, for the columns that the matrix has.
template <TileFormat kFormat, BlockShape kShape>
__device__ __forceinline__ void add_stage(const std::byte* stage, const MatmulWarp& warp, int columns,
                                          float (&acc)[kShape.row_tiles][kShape.token_tiles][4]) {
  using S = Stage<kFormat, kShape>;
  const std::byte* x = stage + S::kX + warp.token_warp * kShape.token_tiles * 8 * S::kXRow;
  const std::byte* tiles = stage + warp.row_warp * kShape.row_tiles * S::kTileBytes;
#pragma unroll(kShape.chunks_at_once())
  for (int column = 0; column < S::kColumns; column += kChunkColumns) {
    if (column >= columns) break;
    uint32_t b[kShape.token_tiles][2][2];
#pragma unroll
    for (int n = 0; n < kShape.token_tiles; ++n) {
      const std::byte* mine = x + (n * 8 + warp.lane / 4) * S::kXRow + 2 * column + warp.lane % 4 * 8;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const uint2 values = *reinterpret_cast<const uint2*>(mine + half * 2 * kMmaColumns);
        b[n][half][0] = values.x;
        b[n][half][1] = values.y;
      }
    }
#pragma unroll
    for (int r = 0; r < kShape.row_tiles; ++r) {
      const std::byte* tile = tiles + r * S::kTileBytes;
      if constexpr (kFormat.group == kMmaColumns) {
        add_group<kFormat, kShape, 0, 1>(tile, x, column, warp.lane, b, acc[r]);
        add_group<kFormat, kShape, 1, 1>(tile, x, column, warp.lane, b, acc[r]);
      } else {
        add_group<kFormat, kShape, 0, 2>(tile, x, column, warp.lane, b, acc[r]);
      }
    }
  }
}

// Puts a warp's sums of its span(s) where the block can see them.
template <TileFormat kFormat, BlockShape kShape>
__device__ __forceinline__ void store_sums(const float (&acc)[kShape.row_tiles][kShape.token_tiles][4],
                                           const MatmulWarp& warp, float* sums) {
  using S = Stage<kFormat, kShape>;
#pragma unroll
  for (int r = 0; r < kShape.row_tiles; ++r) {
#pragma unroll
    for (int n = 0; n < kShape.token_tiles; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int row = (warp.row_warp * kShape.row_tiles + r) * kTileRows + i / 2 * 8 + warp.lane / 4;
        const int token = (warp.token_warp * kShape.token_tiles + n) * 8 + warp.lane % 4 * 2 + i % 2;
        sums[(warp.team * kShape.tokens() + token) * S::kSumsRow + row] = acc[r][n][i];
      }
    }
  }
}

// Adds up the teams' sums in order and writes the block's outputs.
template <TileFormat kFormat, BlockShape kShape>
__device__ __forceinline__ void write_block(const MatmulJob& job, const MatmulBlock& block, const float* sums) {
  using S = Stage<kFormat, kShape>;
  const MatmulPart& part = job.parts[block.part];
  for (int i = static_cast<int>(threadIdx.x); i < kShape.rows() * block.num_tokens; i += kMatmulThreads) {
    const int row = i % kShape.rows();
    const int token = i / kShape.rows();
    if (block.first_row + row >= part.rows) continue;
    float value = 0.0f;
#pragma unroll
    for (int team = 0; team < kShape.teams; ++team) {
      value += sums[(team * kShape.tokens() + token) * S::kSumsRow + row];
    }
    write_output(part, block.first_row + row, block.first_token + token, value);
  }
}

// What a block of threads does.
template <TileFormat kFormat, BlockShape kShape>
__device__ __forceinline__ void multiply_block(const MatmulJob& job) {
  using S = Stage<kFormat, kShape>;
  GPU_DYNAMIC_SHARED(std::byte, shared);
  const MatmulBlock block = find_block(job, kShape.rows(), kShape.tokens());
  if (block.num_tokens <= 0) return;

  const int thread = static_cast<int>(threadIdx.x) % kShape.team_threads();
  const MatmulWarp warp = {.team = static_cast<int>(threadIdx.x) / kShape.team_threads(),
                           .row_warp = thread / kWarpSize / kShape.token_warps,
                           .token_warp = thread / kWarpSize % kShape.token_warps,
                           .lane = thread % kWarpSize};
  std::byte* ring = shared + warp.team * S::kStages * S::kBytes;
  const int num_steps = static_cast<int>(tiles_along(job.cols, kFormat));
  const int span_steps = (num_steps + kSpans - 1) / kSpans;
  const int first_step = warp.team * span_steps;
  const int end_step = kShape.teams == 1 || num_steps < first_step + span_steps ? num_steps : first_step + span_steps;
  const int team_steps = kShape.teams == 1 ? num_steps : span_steps;  // the same for all, as barriers are

  const StageFiller<kFormat, kShape> filler(job, block, num_steps, thread);
  const auto fill = [&](int step) {
    if (first_step + step < end_step) {
      filler.fill(first_step + step, ring + static_cast<unsigned>(step) % S::kStages * S::kBytes);
    }
    cp_async_commit();
  };
#pragma unroll
  for (int step = 0; step < S::kStages - 1; ++step) fill(step);

  float acc[kShape.row_tiles][kShape.token_tiles][4] = {};
  float total[kShape.row_tiles][kShape.token_tiles][4] = {};  // of the spans before, where a team walks all of them
  int left_of_span = span_steps;
  for (int step = 0; step < team_steps; ++step) {
    cp_async_wait<S::kStages - 2>();
    __syncthreads();
    fill(step + S::kStages - 1);
    if (first_step + step < end_step) {
      add_stage<kFormat, kShape>(ring + static_cast<unsigned>(step) % S::kStages * S::kBytes, warp,
                                 filler.cols - (first_step + step) * S::kColumns, acc);
    }
    if constexpr (kShape.teams == 1) {
      if (--left_of_span > 0 && step + 1 != team_steps) continue;
      left_of_span = span_steps;
#pragma unroll
      for (int r = 0; r < kShape.row_tiles; ++r) {
#pragma unroll
        for (int n = 0; n < kShape.token_tiles; ++n) {
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            total[r][n][i] += acc[r][n][i];
            acc[r][n][i] = 0.0f;
          }
        }
      }
    }
  }

  cp_async_wait<0>();
  __syncthreads();  // the sums take the place of the ring
  float* sums = reinterpret_cast<float*>(shared);
  store_sums<kFormat, kShape>(kShape.teams == 1 ? total : acc, warp, sums);
  __syncthreads();
  write_block<kFormat, kShape>(job, block, sums);
}

template <Format kWeights>
inline constexpr TileFormat kTilesOf = *tile_format(kWeights);
template <BlockChoice kChoice>
inline constexpr BlockShape kShapeOf = block_shape(kChoice);

// Parameters are enumerations, as nvcc cannot name a kernel by structs.
template <Format kWeights, BlockChoice kChoice>
__global__ __launch_bounds__(kMatmulThreads,
                             kShapeOf<kChoice>.blocks_at_once()) void matmul_tiles_kernel(const MatmulJob job) {
  multiply_block<kTilesOf<kWeights>, kShapeOf<kChoice>>(job);
}

template <Format kWeights, BlockChoice kChoice>
void launch_blocks(const TilesLaunch& tiles) {
  constexpr BlockShape kShape = kShapeOf<kChoice>;
  MatmulJob job = tiles.job;
  int64_t row_blocks = 0;
  for (int i = 0; i < job.num_parts; ++i) {
    job.parts[i].first_block = row_blocks;
    row_blocks += ceil_div(job.parts[i].rows, kShape.rows());
  }
  const int64_t token_blocks = job.first == nullptr ? ceil_div(job.num_rows, kShape.tokens())
                                                    : most_token_blocks(job.num_rows, kShape.tokens(), job.num_experts);
  launch(matmul_tiles_kernel<kWeights, kChoice>,
         dim3(static_cast<unsigned>(token_blocks), static_cast<unsigned>(row_blocks)), dim3(kMatmulThreads),
         Stage<kTilesOf<kWeights>, kShape>::kSharedBytes, tiles.stream, job);
}

template <Format kWeights>
void launch_tiles(const TilesLaunch& tiles) {
  switch (tiles.shape) {
    case BlockChoice::kEightTokens: return launch_blocks<kWeights, BlockChoice::kEightTokens>(tiles);
    case BlockChoice::kSixteenTokens: return launch_blocks<kWeights, BlockChoice::kSixteenTokens>(tiles);
    case BlockChoice::kThirtyTwoTokens: return launch_blocks<kWeights, BlockChoice::kThirtyTwoTokens>(tiles);
    case BlockChoice::kSmallSquare: return launch_blocks<kWeights, BlockChoice::kSmallSquare>(tiles);
    case BlockChoice::kLargeSquare: return launch_blocks<kWeights, BlockChoice::kLargeSquare>(tiles);
  }
}

}  // namespace quire
