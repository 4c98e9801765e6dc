// Attention of one warp's rows over one tile of K and V: scores, online softmax, weighted V (FlashAttention-2, arXiv
// 2307.08691), with tensor-core products of 16-bit numbers and float32 sums.
//
// The weighted V of every tile starts from zeros and is then added to the rescaled sums, with one fmaf per element.
// That costs no more than rescaling alone, and when all weights of a row are zero its sums keep every bit, however a
// tensor core adds zeros.
#pragma once

#include "kernels/cuda/attention/attention_tiles.h"

namespace quire {

// The template parameters of a kernel.
template <typename Numbers_, int kDim_, int kWarps_, int kRowTiles_, bool kDecodes_>
struct AttentionShape {
  using Numbers = Numbers_;
  static constexpr int kDim = kDim_;            // the largest head_dim
  static constexpr int kWarps = kWarps_;        // warps of a block, each with its own rows
  static constexpr int kRowTiles = kRowTiles_;  // tiles of 16 rows in a warp
  static constexpr bool kDecodes = kDecodes_;   // tiles are converted to f16 first
  static constexpr int kThreads = kWarps * kWarpSize;
  static constexpr int kWarpRows = 16 * kRowTiles;
  static constexpr int kRows = kWarps * kWarpRows;
  static constexpr int kPositions = kDim <= 128 ? 64 : 32;  // positions of a tile; equal in every kernel of a kDim
  static constexpr int kTile = kPositions * kDim;           // elements of a tile of K or V
};

// Of each row tile a lane holds columns 2t and 2t + 1 of every eight columns, in rows g and g + 8 (gpu.h, fragments).
// Half 0 is row g, half 1 is row g + 8.
template <typename Shape>
struct WarpRows {
  int position[Shape::kRowTiles][2];  // -1: no row
  float max[Shape::kRowTiles][2];
  float sum[Shape::kRowTiles][2];  // over this lane's columns
  float values[Shape::kRowTiles][Shape::kDim / 8][4];
};

template <typename Shape>
using Scores = float[Shape::kRowTiles][Shape::kPositions / 8][4];
template <typename Shape>
using Weights = uint32_t[Shape::kRowTiles][Shape::kPositions / 16][4];

template <typename Shape>
__device__ __forceinline__ void start_split(WarpRows<Shape>& rows) {
#pragma unroll
  for (int tile = 0; tile < Shape::kRowTiles; ++tile) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      rows.max[tile][half] = -INFINITY;
      rows.sum[tile][half] = 0.0f;
    }
#pragma unroll
    for (int n = 0; n < Shape::kDim / 8; ++n) {
#pragma unroll
      for (float& value : rows.values[tile][n]) value = 0.0f;
    }
  }
}

// scores = q . k; `q` holds the warp's rows.
template <typename Shape>
__device__ __forceinline__ void score_tile(const uint16_t* q, const uint16_t* k, Scores<Shape>& scores) {
  constexpr int kDim = Shape::kDim;
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
#pragma unroll
  for (int tile = 0; tile < Shape::kRowTiles; ++tile) {
#pragma unroll
    for (int n = 0; n < Shape::kPositions / 8; ++n) {
#pragma unroll
      for (float& score : scores[tile][n]) score = 0.0f;
    }
  }
#pragma unroll 2  // unrolling more would only take registers
  for (int step = 0; step < kDim / 16; ++step) {
    uint32_t a[Shape::kRowTiles][4];
#pragma unroll
    for (int tile = 0; tile < Shape::kRowTiles; ++tile) {
      load_matrices(a[tile], tile_chunk<kDim>(q, tile * 16 + lane % 16, step * 2 + lane / 16));
    }
#pragma unroll
    for (int n = 0; n < Shape::kPositions / 16; ++n) {
      uint32_t b[4];
      load_matrices(b, tile_chunk<kDim>(k, n * 16 + lane / 16 * 8 + lane % 8, step * 2 + lane / 8 % 2));
      const uint32_t low[2] = {b[0], b[1]};
      const uint32_t high[2] = {b[2], b[3]};
#pragma unroll
      for (int tile = 0; tile < Shape::kRowTiles; ++tile) {
        Shape::Numbers::mma(scores[tile][2 * n], a[tile], low);
        Shape::Numbers::mma(scores[tile][2 * n + 1], a[tile], high);
      }
    }
  }
}

struct TileView {
  const uint16_t* q;  // the warp's rows
  const uint16_t* k;
  const uint16_t* v;
  int first_position;
  int empty;      // TilePlace::empty
  bool all_seen;  // every row of the warp sees every position
};

// Sets the scores of positions that the row does not see to -infinity.
template <typename Shape>
__device__ __forceinline__ void mask_scores(const WarpRows<Shape>& rows, const TileView& view, int window,
                                            Scores<Shape>& scores) {
  const int column = static_cast<int>(threadIdx.x) % 4 * 2;
#pragma unroll
  for (int tile = 0; tile < Shape::kRowTiles; ++tile) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int last = rows.position[tile][i / 2];
      const int before = window > 0 ? last - window : -1;
#pragma unroll
      for (int n = 0; n < Shape::kPositions / 8; ++n) {
        const int position = view.first_position + n * 8 + column + i % 2;
        const bool is_empty = (view.empty >> (n * 8 / kKvBlockSize) & 1) != 0;
        if (position > last || position <= before || is_empty) scores[tile][n][i] = -INFINITY;
      }
    }
  }
}

// Replaces the scores of a row by weights relative to the largest score so far; returns the factor for the row's
// earlier sums. Scores are pairs (column, half) of one row tile.
template <typename Shape>
__device__ __forceinline__ float softmax_row(WarpRows<Shape>& rows, int tile, int half, float to_log2,
                                             Scores<Shape>& scores) {
  float most = rows.max[tile][half];
#pragma unroll
  for (int n = 0; n < Shape::kPositions / 8; ++n) {
    most = fmaxf(most, fmaxf(scores[tile][n][2 * half], scores[tile][n][2 * half + 1]));
  }
  most = fmaxf(most, __shfl_xor_sync(kAllLanes, most, 1));
  most = fmaxf(most, __shfl_xor_sync(kAllLanes, most, 2));
  const float base = most == -INFINITY ? 0.0f : most;
  const float shrink = exp2f((rows.max[tile][half] - base) * to_log2);
  const float offset = -base * to_log2;
  float sum = 0.0f;
#pragma unroll
  for (int n = 0; n < Shape::kPositions / 8; ++n) {
#pragma unroll
    for (int i = 2 * half; i < 2 * half + 2; ++i) {
      scores[tile][n][i] = exp2f(fmaf(scores[tile][n][i], to_log2, offset));
      sum += scores[tile][n][i];
    }
  }
  rows.max[tile][half] = most;
  rows.sum[tile][half] = fmaf(rows.sum[tile][half], shrink, sum);
  return shrink;
}

// values = values * shrink + weights * v.
template <typename Shape>
__device__ __forceinline__ void add_values(const uint16_t* v, const Weights<Shape>& weights,
                                           const float (&shrink)[Shape::kRowTiles][2], WarpRows<Shape>& rows) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
#pragma unroll
  for (int n = 0; n < Shape::kDim / 16; ++n) {
    float sums[Shape::kRowTiles][2][4] = {};
#pragma unroll
    for (int step = 0; step < Shape::kPositions / 16; ++step) {
      uint32_t b[4];
      load_matrices_transposed(b, tile_chunk<Shape::kDim>(v, step * 16 + lane % 16, n * 2 + lane / 16));
      const uint32_t low[2] = {b[0], b[1]};
      const uint32_t high[2] = {b[2], b[3]};
#pragma unroll
      for (int tile = 0; tile < Shape::kRowTiles; ++tile) {
        Shape::Numbers::mma(sums[tile][0], weights[tile][step], low);
        Shape::Numbers::mma(sums[tile][1], weights[tile][step], high);
      }
    }
#pragma unroll
    for (int tile = 0; tile < Shape::kRowTiles; ++tile) {
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        float& value = rows.values[tile][2 * n + i / 4][i % 4];
        value = fmaf(value, shrink[tile][i % 4 / 2], sums[tile][i / 4][i % 4]);
      }
    }
  }
}

template <typename Shape>
__device__ __forceinline__ void walk_tile(const AttentionCall& call, const TileView& view, WarpRows<Shape>& rows) {
  Scores<Shape> scores;
  score_tile<Shape>(view.q, view.k, scores);
  if (call.args.softcap > 0) {
    const float inner = call.args.scale / call.args.softcap;
#pragma unroll
    for (int i = 0; i < Shape::kRowTiles * Shape::kPositions / 2; ++i) {
      float& score = (&scores[0][0][0])[i];
      score = tanhf(score * inner);
    }
  }
  if (!view.all_seen) mask_scores<Shape>(rows, view, static_cast<int>(call.args.window), scores);

  float shrink[Shape::kRowTiles][2];
  Weights<Shape> weights;
#pragma unroll
  for (int tile = 0; tile < Shape::kRowTiles; ++tile) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      shrink[tile][half] = softmax_row<Shape>(rows, tile, half, call.to_log2, scores);
    }
#pragma unroll
    for (int n = 0; n < Shape::kPositions / 8; ++n) {
      const float(&s)[4] = scores[tile][n];
      weights[tile][n / 2][n % 2 * 2] = Shape::Numbers::pack(s[0], s[1]);
      weights[tile][n / 2][n % 2 * 2 + 1] = Shape::Numbers::pack(s[2], s[3]);
    }
  }
  add_values<Shape>(view.v, weights, shrink, rows);
}

}  // namespace quire
