// The parts from which the row kernels are built. Rows are processed four floats ("a four") at a time: a block works on
// one row, and its thread t on the fours t, t + blockDim.x, ... A source produces the values of a row, a sink stores
// them, so that two functions of the table with the same source compute the same bits.
//
// Rows whose length, stride or address is not a multiple of four floats are read and written one float at a time. The
// division of work, and therefore every bit, stays the same.
#pragma once

#include "kernels/cuda/device/gpu.h"
#include "kernels/cuda/matmul/compact_rows.h"
#include "kernels/kernels.h"

namespace quire {

constexpr int kMaxRowThreads = 512;

// ---- host ---------------------------------------------------------------------------------------------------------

inline bool in_fours(const void* pointer, int64_t stride) {
  return reinterpret_cast<uintptr_t>(pointer) % 16 == 0 && stride % 4 == 0;
}

// The number of threads for a row that one block works on: one per four. Rows that may be a head get one warp, so that
// every kernel that norms heads sums them in the same order.
inline int row_threads(int64_t dim) {
  if (dim <= kMaxHeadDim) return kWarpSize;
  const int64_t wanted = ceil_div(dim, 4 * kWarpSize) * kWarpSize;
  return static_cast<int>(wanted < kMaxRowThreads ? wanted : kMaxRowThreads);
}

// ---- device -------------------------------------------------------------------------------------------------------

struct Fours {
  int64_t count;  // floats in a row
  bool aligned;   // a four may be read or written in one access
};

// Values beyond the end of the row are zeros.
__device__ __forceinline__ float4 load_four(const float* row, int64_t first, Fours fours) {
  if (fours.aligned && first + 4 <= fours.count) return *reinterpret_cast<const float4*>(row + first);
  float4 four = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
  if (first < fours.count) four.x = row[first];
  if (first + 1 < fours.count) four.y = row[first + 1];
  if (first + 2 < fours.count) four.z = row[first + 2];
  if (first + 3 < fours.count) four.w = row[first + 3];
  return four;
}

__device__ __forceinline__ void store_four(float* row, int64_t first, Fours fours, float4 four) {
  if (fours.aligned && first + 4 <= fours.count) {
    *reinterpret_cast<float4*>(row + first) = four;
    return;
  }
  if (first < fours.count) row[first] = four.x;
  if (first + 1 < fours.count) row[first + 1] = four.y;
  if (first + 2 < fours.count) row[first + 2] = four.z;
  if (first + 3 < fours.count) row[first + 3] = four.w;
}

__device__ __forceinline__ float4 add(float4 a, float4 b) {
  return make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w);
}
__device__ __forceinline__ float4 multiply(float4 a, float4 b) {
  return make_float4(a.x * b.x, a.y * b.y, a.z * b.z, a.w * b.w);
}
__device__ __forceinline__ float4 multiply(float a, float4 b) {
  return make_float4(a * b.x, a * b.y, a * b.z, a * b.w);
}
__device__ __forceinline__ float add_squares(float4 a, float sum) {
  return fmaf(a.w, a.w, fmaf(a.z, a.z, fmaf(a.y, a.y, fmaf(a.x, a.x, sum))));
}

// Sums over the threads of a block: warps are added in order. Every thread gets the result. Call it once per kernel.
__device__ __forceinline__ float block_sum(float x) {
  __shared__ float sums[kMaxRowThreads / kWarpSize];
  x = warp_sum(x);
  const unsigned warps = blockDim.x / kWarpSize;
  if (warps == 1) return x;
  if (threadIdx.x % kWarpSize == 0) sums[threadIdx.x / kWarpSize] = x;
  __syncthreads();
  float sum = sums[0];
  for (unsigned warp = 1; warp < warps; ++warp) sum += sums[warp];
  return sum;
}

// The factor by which RMSNorm multiplies a row.
__device__ __forceinline__ float rms_factor(float sum_of_squares, int64_t dim, float eps) {
  return 1.0f / sqrtf(sum_of_squares / static_cast<float>(dim) + eps);
}

// ---- sources ------------------------------------------------------------------------------------------------------
// All threads of the block call begin(row). Then get(row, first) returns the four that begins at `first`, with zeros
// beyond the end of the row.

struct PlainRows {
  const float* x;
  int64_t stride;
  Fours fours;

  __device__ void begin(int64_t) {}
  __device__ float4 get(int64_t row, int64_t first) const { return load_four(x + row * stride, first, fours); }
};

// Rows picked by lists, their columns too.
struct ListedRows {
  RowsToPack of;
  const float* from = nullptr;  // of the block's row
  const int32_t* columns = nullptr;

  __device__ void begin(int64_t row) {
    from = of.x + (of.rows != nullptr ? of.rows[row] : row) * of.cols;
    columns = of.num_experts > 0 ? of.expert_columns[expert_of(row)] : of.columns;
  }
  __device__ float4 get(int64_t, int64_t first) const {
    return make_float4(at(first), at(first + 1), at(first + 2), at(first + 3));
  }

 private:
  __device__ float at(int64_t c) const { return c >= of.cols ? 0.0f : from[columns != nullptr ? columns[c] : c]; }
  // The last that starts at the row or before it, of those with rows.
  __device__ int expert_of(int64_t row) const {
    int low = 0;
    int high = of.num_experts - 1;
    while (low < high) {
      const int middle = (low + high + 1) / 2;
      if (of.first[middle] - of.first[0] <= row) {
        low = middle;
      } else {
        high = middle - 1;
      }
    }
    return low;
  }
};

// cap * tanh(x / cap) of one long row.
struct CappedRows {
  const float* x;
  float cap;
  Fours fours;

  __device__ void begin(int64_t) {}
  __device__ float4 get(int64_t, int64_t first) const {
    const float4 four = load_four(x, first, fours);
    return make_float4(cap * tanhf(four.x / cap), cap * tanhf(four.y / cap), cap * tanhf(four.z / cap),
                       cap * tanhf(four.w / cap));
  }
};

struct NormedRows {
  const float* x;
  int64_t stride;
  const float* weight;
  float eps;
  Fours fours;
  Fours weight_fours;
  float factor = 0.0f;

  __device__ void begin(int64_t row) {
    float sum = 0.0f;
    for (int64_t first = 4 * threadIdx.x; first < fours.count; first += 4 * blockDim.x) {
      sum = add_squares(load_four(x + row * stride, first, fours), sum);
    }
    factor = rms_factor(block_sum(sum), fours.count, eps);
  }
  __device__ float4 get(int64_t row, int64_t first) const {
    return multiply(multiply(factor, load_four(x + row * stride, first, fours)),
                    load_four(weight, first, weight_fours));
  }
};

template <Activation kKind>
__device__ __forceinline__ float activate(float x) {
  constexpr float kSqrtHalf = 0.70710678f;
  constexpr float kSqrt2OverPi = 0.79788456f;
  if constexpr (kKind == Activation::kSilu) {
    return x / (1.0f + expf(-x));
  } else if constexpr (kKind == Activation::kGeluTanh) {
    return 0.5f * x * (1.0f + tanhf(kSqrt2OverPi * (x + 0.044715f * x * x * x)));
  } else {
    return 0.5f * x * erfcf(-x * kSqrtHalf);
  }
}

template <Activation kKind>
struct GatedRows {
  const float* gate;
  int64_t gate_stride;
  const float* up;
  int64_t up_stride;
  Fours gate_fours;
  Fours up_fours;

  __device__ void begin(int64_t) {}
  __device__ float4 get(int64_t row, int64_t first) const {
    const float4 x = load_four(gate + row * gate_stride, first, gate_fours);
    const float4 activated =
        make_float4(activate<kKind>(x.x), activate<kKind>(x.y), activate<kKind>(x.z), activate<kKind>(x.w));
    return multiply(activated, load_four(up + row * up_stride, first, up_fours));
  }
};

// ---- sinks --------------------------------------------------------------------------------------------------------
// All lanes of a warp call put(row, first, four) together, whether or not `first` is within the sink's columns of a
// row.

struct FloatRows {
  float* out;
  int64_t stride;
  Fours fours;

  static int64_t columns(int64_t dim) { return dim; }
  __device__ void put(int64_t row, int64_t first, float4 four, bool inside) const {
    if (inside) store_four(out + row * stride, first, fours, four);
  }
};

struct AddedRows {
  float* x;
  Fours fours;

  static int64_t columns(int64_t dim) { return dim; }
  __device__ void put(int64_t row, int64_t first, float4 four, bool inside) const {
    float* const to = x + row * fours.count;
    if (inside) store_four(to, first, fours, add(load_four(to, first, fours), four));
  }
};

// Compact rows (compact_rows.h): four neighbouring lanes hold the values of one sum, sixteen those of one group of
// codes.
struct CompactRows {
  std::byte* out;
  int64_t dim;

  static int64_t columns(int64_t of_dim) { return compact_columns(of_dim); }
  __device__ void put(int64_t row, int64_t first, float4 four, bool inside) const {
    const uint2 packed = make_uint2(pack_bf16(four.x, four.y), pack_bf16(four.z, four.w));
    float sum = (low(packed.x) + high(packed.x)) + (low(packed.y) + high(packed.y));
    sum += __shfl_xor_sync(kAllLanes, sum, 1);
    sum += __shfl_xor_sync(kAllLanes, sum, 2);
    // Infinity stands for all values that are not finite.
    const bool finite = (four.x * 0.0f + four.y * 0.0f) + (four.z * 0.0f + four.w * 0.0f) == 0.0f;
    float most = fmaxf(fmaxf(fabsf(four.x), fabsf(four.y)), fmaxf(fabsf(four.z), fabsf(four.w)));
    if (!finite) most = INFINITY;
    for (int lanes = 1; lanes < kInt8Group / 4; lanes *= 2) most = fmaxf(most, __shfl_xor_sync(kAllLanes, most, lanes));
    if (!inside) return;
    std::byte* const to = out + row * compact_row_bytes(dim);
    *reinterpret_cast<uint2*>(to + 2 * first) = packed;
    if (first % kCompactGroup == 0) {
      *reinterpret_cast<float*>(to + compact_sums_offset(dim) + first / kCompactGroup * 4) = sum;
    }
    put_codes(to + compact_int8_offset(dim) + first / kInt8Group * kInt8GroupBytes, first % kInt8Group, four, most);
  }

 private:
  // Stores the lane's part of a group whose largest magnitude is `most`.
  __device__ static void put_codes(std::byte* group, int64_t first, float4 four, float most) {
    const bool has_codes = most >= kInt8SmallestMax && most < INFINITY;
    const float inverse = has_codes ? 127.0f / most : 0.0f;
    const auto code = [=](float x) {
      return has_codes ? static_cast<uint32_t>(static_cast<int>(rintf(x * inverse))) & 0xffu : 0u;
    };
    *reinterpret_cast<uint32_t*>(group + first) =
        code(four.x) | code(four.y) << 8 | code(four.z) << 16 | code(four.w) << 24;
    if (first == 0) {
      *reinterpret_cast<float*>(group + kInt8Group) = most == INFINITY ? NAN : has_codes ? most / 127.0f : 0.0f;
    }
  }
  __device__ static float low(uint32_t pair) { return bf16_to_float(static_cast<uint16_t>(pair & 0xffffu)); }
  __device__ static float high(uint32_t pair) { return bf16_to_float(static_cast<uint16_t>(pair >> 16)); }
};

}  // namespace quire
