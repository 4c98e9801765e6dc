// The tensor-core attention kernel: a block computes all splits of one job, or one of them, tile by tile, while the
// next tile is being copied. The files that instantiate it include this header. attention_call.h defines jobs and
// splits, attention_walk.h has the arithmetic.
#pragma once

#include "kernels/cuda/attention/attention_walk.h"

namespace quire {

// The block's dynamic shared memory: Q, then two tiles of K and V, filled in turns; or one tile and the stored bytes
// from which it is decoded.
template <typename Shape>
constexpr size_t attention_shared_bytes(const KvLayer& kv) {
  const size_t tiles = size_t{2} * Shape::kTile * sizeof(uint16_t);
  const size_t q = size_t{Shape::kRows} * Shape::kDim * sizeof(uint16_t);
  if (!Shape::kDecodes) return q + 2 * tiles;
  const int stored_bytes =
      kv_stored_bytes(k_codes(kv.k_format), kv.head_dim) + kv_stored_bytes(kv.v_format, kv.head_dim);
  return q + tiles + size_t{Shape::kPositions / kKvBlockSize} * static_cast<size_t>(stored_bytes);
}

// Copies the block's tiles of K and V to shared memory, one after the other.
template <typename Shape>
class TileStream {
 public:
  __device__ TileStream(const AttentionCall& call, const AttentionJob& job, int kv_head, uint16_t* tiles, int first,
                        int last)
      : call_(call), job_(job), kv_head_(kv_head), tiles_(tiles), last_(last) {
    next_ = place_tile<Shape::kPositions>(call_, job_, kv_head_, first);
    begin_next(first);
  }

  // Waits for the next tile and starts the copies of the one after it. The tile is valid until the next call.
  __device__ __forceinline__ void open(int tile) {
    cp_async_wait<0>();
    sync_block<Shape::kWarps>();
    empty_ = begun_empty_;
    if constexpr (Shape::kDecodes) {
      const KvLayer& kv = call_.args.kv;
      decode(k_codes(kv.k_format), stored_k(), tiles_);
      decode(kv.v_format, stored_v(), tiles_ + Shape::kTile);
      sync_block<Shape::kWarps>();
    }
    if (tile < last_) begin_next(tile + 1);
  }
  __device__ __forceinline__ int empty() const { return empty_; }  // TilePlace::empty of the open tile
  __device__ __forceinline__ const uint16_t* k(int tile) const { return buffer(tile); }
  __device__ __forceinline__ const uint16_t* v(int tile) const { return buffer(tile) + Shape::kTile; }

 private:
  __device__ __forceinline__ uint16_t* buffer(int tile) const {
    return Shape::kDecodes ? tiles_ : tiles_ + tile % 2 * 2 * Shape::kTile;
  }
  __device__ __forceinline__ std::byte* stored_k() const {
    return reinterpret_cast<std::byte*>(tiles_ + 2 * Shape::kTile);
  }
  __device__ __forceinline__ std::byte* stored_v() const {
    const KvLayer& kv = call_.args.kv;
    return stored_k() + Shape::kPositions / kKvBlockSize * kv_stored_bytes(k_codes(kv.k_format), kv.head_dim);
  }

  __device__ __forceinline__ void decode(Format format, const std::byte* from, uint16_t* to) const {
    decode_tile<Shape::kDim, Shape::kPositions, Shape::kThreads>(opened_, format, from, job_, call_.args.kv.head_dim,
                                                                 to);
  }

  // The block table is read one tile ahead, so that the entry has arrived when the copies begin.
  __device__ __forceinline__ void begin_next(int tile) {
    constexpr int kPositions = Shape::kPositions;
    constexpr int kThreads = Shape::kThreads;
    const KvLayer& kv = call_.args.kv;
    begun_empty_ = next_.empty();
    if constexpr (Shape::kDecodes) {
      begin_stored<kPositions, kThreads>(next_, kv.k, kv_stored_bytes(k_codes(kv.k_format), kv.head_dim), stored_k());
      begin_stored<kPositions, kThreads>(next_, kv.v, kv_stored_bytes(kv.v_format, kv.head_dim), stored_v());
      opened_ = next_;
    } else {
      uint16_t* const to = buffer(tile);
      begin_tile<Shape::kDim, kPositions, kThreads>(next_, kv.k, job_, kv.head_dim, to);
      begin_tile<Shape::kDim, kPositions, kThreads>(next_, kv.v, job_, kv.head_dim, to + Shape::kTile);
    }
    cp_async_commit();
    if (tile < last_) next_ = place_tile<kPositions>(call_, job_, kv_head_, tile + 1);
  }

  const AttentionCall& call_;
  const AttentionJob& job_;
  const int kv_head_;
  uint16_t* const tiles_;
  const int last_;
  TilePlace<Shape::kPositions> next_;
  TilePlace<Shape::kPositions> opened_;  // when decoding: the tile whose stored bytes are being copied
  int begun_empty_ = 0;                  // TilePlace::empty of the tile whose copies were started last
  int empty_ = 0;
};

// The part of the job that the warp computes.
struct WarpPart {
  int first_row;  // of the job
  int first_position;
  int last_position;  // below first_position: the warp has no rows

  __device__ __forceinline__ bool sees_some(int first, int last, int window) const {
    return first <= last_position && first_position <= last_position && (window <= 0 || last > first_position - window);
  }
  __device__ __forceinline__ bool sees_all(int first, int last, int window) const {
    return last <= first_position && (window <= 0 || first > last_position - window);
  }
};

// The rows of a pack see every position of their split, so no position is masked.
__device__ __forceinline__ int row_position(const AttentionCall& call, const AttentionJob& job, int row) {
  return call.pack_rows > 0 ? job.last_seen : job.position(call.heads_per_kv, row);
}

template <typename Shape>
__device__ __forceinline__ WarpPart take_rows(const AttentionCall& call, const AttentionJob& job,
                                              WarpRows<Shape>& rows) {
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int first = warp * Shape::kWarpRows;
  const int last = min(first + Shape::kWarpRows, job.num_rows) - 1;
#pragma unroll
  for (int tile = 0; tile < Shape::kRowTiles; ++tile) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = first + tile * 16 + half * 8 + lane / 4;
      rows.position[tile][half] = row < job.num_rows ? row_position(call, job, row) : -1;
    }
  }
  if (last < first) return {first, 0, -1};
  return {first, row_position(call, job, first), row_position(call, job, last)};
}

// Stores the results of a split: in the workspace; or merges them with the results of earlier splits in `out` and
// divides them by their sums after the last split.
template <typename Shape>
__device__ __forceinline__ void end_split(const AttentionCall& call, const AttentionJob& job, int kv_head,
                                          const WarpPart& part, WarpRows<Shape>& rows,
                                          RowTotal (&totals)[Shape::kRowTiles][2], int split, bool is_first,
                                          bool is_last) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int head_dim = call.args.kv.head_dim;
#pragma unroll
  for (int tile = 0; tile < Shape::kRowTiles; ++tile) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float sum = rows.sum[tile][half];
      sum += __shfl_xor_sync(kAllLanes, sum, 1);
      sum += __shfl_xor_sync(kAllLanes, sum, 2);
      const float max = rows.max[tile][half];
      const int row = part.first_row + tile * 16 + half * 8 + lane / 4;
      const QueryRow query = query_row(call, job, kv_head, row);
      if (query.row < 0) continue;
      float* to;
      MergeFactors factors = {0.0f, 1.0f};
      float inverse = 1.0f;
      if (call.num_splits > 0) {
        float* const partial = partial_of(call, query.job, kv_head, split);
        to = partial + query.job_row * head_dim;
        float* const its = partial + int64_t{call.partial_rows} * head_dim + query.job_row * 2;
        if (lane % 4 == 0) *reinterpret_cast<float2*>(its) = make_float2(max, sum);
      } else {
        to = call.args.out + (query.row * call.args.num_heads + query.head) * head_dim;
        factors = merge(totals[tile][half], max, sum, call.to_log2);
        if (is_last) inverse = 1.0f / totals[tile][half].sum;
      }
#pragma unroll
      for (int n = 0; n < Shape::kDim / 8; ++n) {
        const int column = n * 8 + lane % 4 * 2;
        if (column >= head_dim) break;
        float2 value = make_float2(rows.values[tile][n][2 * half], rows.values[tile][n][2 * half + 1]);
        float2* const place = reinterpret_cast<float2*>(to + column);
        if (call.num_splits == 0) {
          const float2 before = is_first ? make_float2(0.0f, 0.0f) : *place;
          value.x = fmaf(before.x, factors.keep, value.x * factors.add);
          value.y = fmaf(before.y, factors.keep, value.y * factors.add);
          if (is_last) value = make_float2(fmaf(value.x, inverse, 0.0f), fmaf(value.y, inverse, 0.0f));
        }
        *place = value;
      }
    }
  }
}

// grid: KV heads, jobs, splits (1 when every block computes all splits).
template <typename Shape>
__global__ void __launch_bounds__(Shape::kThreads, 1) attention_kernel(const AttentionCall call) {
  constexpr int kPositions = Shape::kPositions;
  GPU_DYNAMIC_SHARED(uint16_t, shared);
  const int kv_head = static_cast<int>(blockIdx.x);
  const int index = static_cast<int>(blockIdx.y);
  const AttentionJob job =
      call.pack_rows > 0 ? find_pack(call, index, static_cast<int>(blockIdx.z)) : find_job(call, index);
  if (job.num_rows <= 0) return;
  int first_split = split_of(job.first_seen);
  int last_split = split_of(job.last_seen);
  if (call.num_splits > 0) {
    const int split = static_cast<int>(blockIdx.z);
    if (split < first_split || split > last_split) return;
    if (call.pack_rows == 0 && call.shared_splits != nullptr && call.shared_splits[split] != 0) return;
    first_split = last_split = split;
  }
  const int first_tile = max(job.first_seen, split_begin(first_split)) / kPositions;
  const int last_tile = min(job.last_seen, split_begin(last_split + 1) - 1) / kPositions;
  const int window = call.pack_rows > 0 ? 0 : static_cast<int>(call.args.window);

  WarpRows<Shape> rows;
  const WarpPart part = take_rows<Shape>(call, job, rows);
  const uint16_t* const q = shared + part.first_row * Shape::kDim;
  RowTotal totals[Shape::kRowTiles][2];
  TileStream<Shape> stream(call, job, kv_head, shared + Shape::kRows * Shape::kDim, first_tile, last_tile);
  load_queries<typename Shape::Numbers, Shape::kDim, Shape::kRows, Shape::kThreads>(call, job, kv_head, shared);

  int tile = first_tile;
  for (int split = first_split; split <= last_split; ++split) {
    start_split(rows);
    const int end_tile = min(last_tile + 1, split_begin(split + 1) / kPositions);
    for (; tile < end_tile; ++tile) {
      stream.open(tile);
      const int first = tile * kPositions;
      const int last = first + kPositions - 1;
      const int empty = stream.empty();
      if (!part.sees_some(first, last, window) || empty == TilePlace<kPositions>::kAllEmpty) continue;
      walk_tile<Shape>(call,
                       {.q = q,
                        .k = stream.k(tile),
                        .v = stream.v(tile),
                        .first_position = first,
                        .empty = empty,
                        .all_seen = empty == 0 && part.sees_all(first, last, window)},
                       rows);
    }
    end_split<Shape>(call, job, kv_head, part, rows, totals, split, split == first_split, split == last_split);
  }
}

template <typename Numbers, int kDim, bool kDecodes>
void launch_attention(const AttentionCall& call, Stream stream) {
  using Few = AttentionShape<Numbers, kDim, 1, 1, kDecodes>;
  using Many = AttentionShape<Numbers, kDim, 4, kDim <= 128 ? 2 : 1, kDecodes>;
  const KvLayer& kv = call.args.kv;
  const dim3 grid(static_cast<unsigned>(kv.num_kv_heads), static_cast<unsigned>(call.num_jobs),
                  static_cast<unsigned>(call.num_splits > 0 ? call.num_splits : 1));
  if (call.few() && call.pack_rows == 0) {
    launch(attention_kernel<Few>, grid, dim3(Few::kThreads), attention_shared_bytes<Few>(kv), stream, call);
  } else {
    launch(attention_kernel<Many>, grid, dim3(Many::kThreads), attention_shared_bytes<Many>(kv), stream, call);
  }
}

template <typename Numbers, bool kDecodes>
void launch_attention_for_dim(const AttentionCall& call, Stream stream) {
  const int head_dim = call.args.kv.head_dim;
  if (head_dim <= 64) {
    launch_attention<Numbers, 64, kDecodes>(call, stream);
  } else if (head_dim <= 128) {
    launch_attention<Numbers, 128, kDecodes>(call, stream);
  } else {
    launch_attention<Numbers, 256, kDecodes>(call, stream);
  }
}

}  // namespace quire
