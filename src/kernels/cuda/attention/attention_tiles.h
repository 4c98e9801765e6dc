// Copies tiles of Q, K and V to shared memory and reads tensor-core operands from them.
//
// A tile is [rows][kDim] of 16-bit numbers, head_dim padded to kDim with zeros. The 16-byte chunks of a row are
// permuted by the row number, so that the eight rows of a matrix load fall on different banks.
#pragma once

#include "kernels/cuda/attention/attention_call.h"
#include "kernels/cuda/attention/kv_tiles.h"

namespace quire {

template <int kDim>
__device__ __forceinline__ uint16_t* tile_chunk(uint16_t* tile, int row, int chunk) {
  return tile + row * kDim + (chunk ^ (row & 7)) * 8;
}
template <int kDim>
__device__ __forceinline__ const uint16_t* tile_chunk(const uint16_t* tile, int row, int chunk) {
  return tile + row * kDim + (chunk ^ (row & 7)) * 8;
}

// The threads that share tiles: a block, or a block of a single warp.
template <int kWarps>
__device__ __forceinline__ void sync_block() {
  if constexpr (kWarps == 1) {
    __syncwarp();
  } else {
    __syncthreads();
  }
}

// Tensor-core products of one kind of 16-bit numbers.
struct F16Numbers {
  static __device__ __forceinline__ uint32_t pack(float low, float high) { return pack_f16(low, high); }
  static __device__ __forceinline__ void mma(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    mma_f16(d, a, b);
  }
};
struct Bf16Numbers {
  static __device__ __forceinline__ uint32_t pack(float low, float high) { return pack_bf16(low, high); }
  static __device__ __forceinline__ void mma(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    mma_bf16(d, a, b);
  }
};

// Copies the query rows of the job; the other rows of the tile become zeros.
template <typename Numbers, int kDim, int kRows, int kThreads>
__device__ __forceinline__ void load_queries(const AttentionCall& call, const AttentionJob& job, int kv_head,
                                             uint16_t* tile) {
  const int head_dim = call.args.kv.head_dim;
  for (int i = static_cast<int>(threadIdx.x); i < kRows * kDim / 8; i += kThreads) {
    const int row = i / (kDim / 8);
    const int chunk = i % (kDim / 8);
    uint4 eight = make_uint4(0, 0, 0, 0);
    const QueryRow query = query_row(call, job, kv_head, row);
    if (query.row >= 0 && chunk * 8 < head_dim) {
      const float* from = call.args.q + query.row * call.args.q_stride + query.head * head_dim + chunk * 8;
      const float4 low = *reinterpret_cast<const float4*>(from);
      const float4 high = *reinterpret_cast<const float4*>(from + 4);
      eight = make_uint4(Numbers::pack(low.x, low.y), Numbers::pack(low.z, low.w), Numbers::pack(high.x, high.y),
                         Numbers::pack(high.z, high.w));
    }
    *reinterpret_cast<uint4*>(tile_chunk<kDim>(tile, row, chunk)) = eight;
  }
}

// ---- K and V ----

// The positions of one tile in shared memory, and the tiles of the cache that hold them.
template <int kPositions>
struct TilePlace {
  static_assert(kPositions == kKvBlockSize || kPositions == 2 * kKvBlockSize);
  int first_position;
  int stored[2];  // block * num_kv_heads + head; -1 when no row of the job sees a position, or beyond kPositions

  // Bit i: no row sees the positions of stored[i].
  __device__ __forceinline__ int empty() const {
    return (stored[0] < 0 ? 1 : 0) | (kPositions > kKvBlockSize && stored[1] < 0 ? 2 : 0);
  }
  static constexpr int kAllEmpty = kPositions > kKvBlockSize ? 3 : 1;
};

// Reads the block table only where the job sees positions: blocks before every window may have been freed.
template <int kPositions>
__device__ __forceinline__ TilePlace<kPositions> place_tile(const AttentionCall& call, const AttentionJob& job,
                                                            int kv_head, int tile) {
  TilePlace<kPositions> place = {tile * kPositions, {-1, -1}};
  for (int i = 0; i < kPositions / kKvBlockSize; ++i) {
    const int block = tile * (kPositions / kKvBlockSize) + i;
    if (block < job.first_seen / kKvBlockSize || block > job.last_seen / kKvBlockSize) continue;
    const int32_t id = job.sequence.block_table[block];
    if (id != kNoBlock) place.stored[i] = id * call.args.kv.num_kv_heads + kv_head;
  }
  return place;
}

// Starts the copies of K or V as they are stored in the cache. Positions that no row sees become zeros, because the
// cache may hold NaN there.
template <int kDim, int kPositions, int kThreads>
__device__ __forceinline__ void begin_tile(const TilePlace<kPositions>& place, const std::byte* cache,
                                           const AttentionJob& job, int head_dim, uint16_t* tile) {
  constexpr int kStep = kThreads / (kDim / 8);  // rows that the threads copy at once
  static_assert(kThreads % (kDim / 8) == 0 && kKvBlockSize % kStep == 0);
  const int first_row = static_cast<int>(threadIdx.x) / (kDim / 8);
  const int chunk = static_cast<int>(threadIdx.x) % (kDim / 8);
  const int row_bytes = head_dim * 2;
#pragma unroll 1
  for (int part = 0; part < kPositions / kKvBlockSize; ++part) {
    const int stored = part == 0 ? place.stored[0] : place.stored[1];
    const bool has_columns = stored >= 0 && chunk * 8 < head_dim;
    const std::byte* from =
        has_columns ? cache + int64_t{stored} * kKvBlockSize * row_bytes + first_row * row_bytes + chunk * 16 : cache;
    const int step_bytes = has_columns ? kStep * row_bytes : 0;
    const int num_seen = job.last_seen + 1 - place.first_position - part * kKvBlockSize;
#pragma unroll 4
    for (int row = first_row; row < kKvBlockSize; row += kStep, from += step_bytes) {
      const bool valid = has_columns && row < num_seen;
      cp_async_16(tile_chunk<kDim>(tile, part * kKvBlockSize + row, chunk), valid ? from : cache, valid);
    }
  }
}

// The same for tiles that are decoded afterwards: copies whole stored tiles.
template <int kPositions, int kThreads>
__device__ __forceinline__ void begin_stored(const TilePlace<kPositions>& place, const std::byte* cache,
                                             int stored_bytes, std::byte* to) {
  for (int part = 0; part < kPositions / kKvBlockSize; ++part) {
    if (place.stored[part] < 0) continue;
    const std::byte* from = cache + int64_t{place.stored[part]} * stored_bytes;
#pragma unroll 4
    for (int i = static_cast<int>(threadIdx.x) * 16; i < stored_bytes; i += kThreads * 16) {
      cp_async_16(to + part * stored_bytes + i, from + i, true);
    }
  }
}

template <int kDim, int kPositions, int kThreads>
__device__ __forceinline__ void decode_tile(const TilePlace<kPositions>& place, Format format, const std::byte* from,
                                            const AttentionJob& job, int head_dim, uint16_t* tile) {
  const int stored_bytes = kv_stored_bytes(format, head_dim);
#pragma unroll 4
  for (int i = static_cast<int>(threadIdx.x); i < kPositions * kDim / 8; i += kThreads) {
    const int row = i / (kDim / 8);
    const int chunk = i % (kDim / 8);
    const int stored = row < kKvBlockSize ? place.stored[0] : place.stored[1];
    uint4 eight = make_uint4(0, 0, 0, 0);
    if (stored >= 0 && place.first_position + row <= job.last_seen && chunk * 8 < head_dim) {
      const std::byte* const part = from + row / kKvBlockSize * stored_bytes;
      eight = kv_eight_f16(format, part, head_dim, row % kKvBlockSize, chunk);
    }
    *reinterpret_cast<uint4*>(tile_chunk<kDim>(tile, row, chunk)) = eight;
  }
}

}  // namespace quire
