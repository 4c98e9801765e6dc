// The tensor-core matmul of CUDA: packed tiles of weights (matmul_layout.h) times compact rows (compact_rows.h).
//
// y^T = W x^T: 16 rows of weights are the rows of mma.m16n8k16 and 8 tokens its columns, so that few tokens waste
// little work. Codes become exact bf16 in registers; the tensor cores sum the products of a group in float32, and the
// sum is multiplied by the scale of the group, so weights are never rounded. I8_G128 is multiplied in integers instead,
// by the int8 form of the rows, with mma.m16n8k32 (W8A8).
//
// The order of every sum depends only on the matrix: K is divided into kSpans spans of whole tiles; within a span,
// groups are added one after the other; spans are added in order. A block walks along K with a ring of stages in shared
// memory that cp.async fills ahead. Shapes of blocks differ in how they divide the spans: few tokens   each of kSpans
// teams of warps computes one span, so that little work fills many multiprocessors many tokens  one team computes all
// spans, so that a stage serves more products All shapes give the same bits; the choice affects the speed only.
#pragma once

#include "kernels/cuda/matmul/matmul_decode.h"
#include "kernels/cuda/matmul/matmul_stage.h"

namespace quire {

// The position of a warp in its block.
struct MatmulWarp {
  int team = 0;
  int row_warp = 0;
  int token_warp = 0;
  int lane = 0;
};

// acc += one row of tiles * the warp's tokens, over kCount mmas (of 16 columns) that share the scales of their group,
// starting at half kHalf of the chunk at `chunk`. b: the tokens' fragments of the chunk.
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

// The same for int8 weights and codes: the sum over the columns of a tile, which are one group of x, is exact.
template <TileFormat kFormat, BlockShape kShape>
__device__ __forceinline__ void add_int8_stage(const std::byte* stage, const MatmulWarp& warp,
                                               float (&acc)[kShape.row_tiles][kShape.token_tiles][4]) {
  using S = Stage<kFormat, kShape>;
  constexpr int kSteps = S::kColumns / (2 * kMmaColumns);
  const std::byte* x = stage + S::kX + warp.token_warp * kShape.token_tiles * 8 * S::kXRow;
  const std::byte* tiles = stage + warp.row_warp * kShape.row_tiles * S::kTileBytes;
  uint32_t a[kShape.row_tiles][kSteps][4];
  float scales[kShape.row_tiles][2];
#pragma unroll
  for (int r = 0; r < kShape.row_tiles; ++r) {
    const std::byte* tile = tiles + r * S::kTileBytes;
#pragma unroll
    for (int half = 0; half < 2 * kSteps; ++half) {
      const uint2 rows = *reinterpret_cast<const uint2*>(tile + half * mma_code_bytes(kFormat) + warp.lane * 8);
      a[r][half / 2][half % 2 * 2] = rows.x;
      a[r][half / 2][half % 2 * 2 + 1] = rows.y;
    }
    scales[r][0] = group_scale<kFormat>(tile, warp.lane / 4, 0).scale;
    scales[r][1] = group_scale<kFormat>(tile, warp.lane / 4 + 8, 0).scale;
  }
#pragma unroll
  for (int n = 0; n < kShape.token_tiles; ++n) {
    const std::byte* mine = x + (n * 8 + warp.lane / 4) * S::kXRow + warp.lane % 4 * 4;
    uint32_t b[kSteps][2];
#pragma unroll
    for (int half = 0; half < 2 * kSteps; ++half) {
      b[half / 2][half % 2] = *reinterpret_cast<const uint32_t*>(mine + half * kMmaColumns);
    }
    float x_scales[2];  // of the tokens whose sums the lane holds
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      x_scales[i] = *reinterpret_cast<const float*>(x + (n * 8 + warp.lane % 4 * 2 + i) * S::kXRow + kInt8Group);
    }
#pragma unroll
    for (int r = 0; r < kShape.row_tiles; ++r) {
      int32_t sums[4] = {};
#pragma unroll
      for (int step = 0; step < kSteps; ++step) mma_s8(sums, a[r][step], b[step]);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        acc[r][n][i] = fmaf(scales[r][i / 2], static_cast<float>(sums[i]) * x_scales[i % 2], acc[r][n][i]);
      }
    }
  }
}

// Stores a warp's sums of its span(s) in shared memory.
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

// Adds the sums of the teams in order and writes the outputs of the block.
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

// The work of one block of threads.
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
  const int team_steps = kShape.teams == 1 ? num_steps : span_steps;  // equal for all teams, because barriers are

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
  float total[kShape.row_tiles][kShape.token_tiles][4] = {};  // over earlier spans, when one team computes all spans
  int left_of_span = span_steps;
  for (int step = 0; step < team_steps; ++step) {
    cp_async_wait<S::kStages - 2>();
    __syncthreads();
    fill(step + S::kStages - 1);
    if (first_step + step < end_step) {
      const std::byte* stage = ring + static_cast<unsigned>(step) % S::kStages * S::kBytes;
      if constexpr (S::kInt8) {
        add_int8_stage<kFormat, kShape>(stage, warp, acc);
      } else {
        add_stage<kFormat, kShape>(stage, warp, filler.cols - (first_step + step) * S::kColumns, acc);
      }
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
  __syncthreads();  // the sums overwrite the ring
  float* sums = reinterpret_cast<float*>(shared);
  store_sums<kFormat, kShape>(kShape.teams == 1 ? total : acc, warp, sums);
  __syncthreads();
  write_block<kFormat, kShape>(job, block, sums);
}

template <Format kWeights>
inline constexpr TileFormat kTilesOf = *tile_format(kWeights);
template <BlockChoice kChoice>
inline constexpr BlockShape kShapeOf = block_shape(kChoice);

// The template parameters are enumerations, because nvcc cannot name a kernel by structs.
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
