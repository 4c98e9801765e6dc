// Stores K and V of new tokens in their tiles (kv_tiles.h), with the codes and scales that kernels.h defines: as a
// separate kernel, or in the kernel that has just rotated the heads. Copies positions from block to block.
#include "kernels/cuda/attention/attention.h"
#include "kernels/cuda/attention/kv_tiles.h"
#include "kernels/cuda/rows/rotate_head.h"

namespace quire {
namespace {

constexpr int kWriteWarps = 4;
constexpr uint16_t kNanF16 = 0x7e00;
constexpr unsigned kMaxGridRows = 65535;

struct WriteKv {
  KvLayer kv;
  const float* k;
  const float* v;
  int64_t k_stride;
  int64_t v_stride;
  const int64_t* slots;
  int64_t num_rows;
};

__device__ __forceinline__ void store_number(Format format, std::byte* row, int d, float value) {
  if (format == Format::kF32) {
    reinterpret_cast<float*>(row)[d] = value;
  } else if (format == Format::kF8_E4M3) {
    reinterpret_cast<uint8_t*>(row)[d] = float_to_e4m3(value);
  } else {
    reinterpret_cast<uint16_t*>(row)[d] = format == Format::kF16 ? float_to_f16(value) : float_to_bf16(value);
  }
}

__device__ __forceinline__ float least_code(Format format) { return format == Format::kQ5_0 ? -16.0f : -8.0f; }

// The scale, as stored, of the groups whose values the lanes hold.
__device__ __forceinline__ uint16_t scale_of(Format format, float value, float other) {
  const float most = warp_max(fmaxf(0.0f, fmaxf(value, other)));
  const float least = -warp_max(fmaxf(0.0f, fmaxf(-value, -other)));
  const bool are_numbers = value * 0.0f + other * 0.0f == 0.0f;
  if (__any_sync(kAllLanes, !are_numbers)) return kNanF16;
  const float widest = most >= -least ? most : least;
  return float_to_f16(format == Format::kQ8_0 ? fabsf(widest) / 127.0f : widest / least_code(format));
}

// Stores the codes of one group by one warp; each lane has one dimension. `inverse` is 1 / scale, or 0 for zeros.
__device__ __forceinline__ void store_group(Format format, std::byte* tile, int head_dim, int position, int group,
                                            float value, float inverse) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const float code = inverse != 0.0f ? rintf(value * inverse) : 0.0f;
  std::byte* const row = tile + position * kv_row_bytes(format, head_dim);
  if (format == Format::kQ8_0) {
    const auto byte = static_cast<uint8_t>(static_cast<int>(fminf(fmaxf(code, -127.0f), 127.0f)) + 128);
    reinterpret_cast<uint8_t*>(row)[group * kKvGroup + lane / 4 * 4 + kv_byte_place(lane)] = byte;
    return;
  }
  const float least = least_code(format);
  const auto bits = static_cast<uint32_t>(static_cast<int>(fminf(fmaxf(code, least), -least - 1.0f) - least));
  uint32_t word = (bits & 15u) << (4 * kv_nibble_place(lane));
  for (int step = 1; step < 8; step *= 2) word |= __shfl_xor_sync(kAllLanes, word, step);
  if (lane % 8 == 0) reinterpret_cast<uint32_t*>(row)[group * (kKvGroup / 8) + lane / 8] = word;
  if (format != Format::kQ5_0) return;
  uint32_t fifth = bits >> 4 << (lane / 8 * 8 + kv_nibble_place(lane));
  for (int step = 1; step < kWarpSize; step *= 2) fifth |= __shfl_xor_sync(kAllLanes, fifth, step);
  if (lane == 0) reinterpret_cast<uint32_t*>(tile + kv_fifth_offset(format, head_dim, position))[group] = fifth;
}

// Stores the groups from `first` on that share a scale by one warp.
__device__ __forceinline__ void store_sharing_groups(Format format, std::byte* tile, int head_dim, int position,
                                                     int first, const float* from) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const auto value_of = [&](int group) {
    const int d = group * kKvGroup + lane;
    return d < head_dim ? from[d] : 0.0f;
  };
  const bool has_other = kv_sharing_groups(format) == 2 && first + 1 < kv_groups(head_dim);
  const float value = value_of(first);
  const float other = has_other ? value_of(first + 1) : 0.0f;
  const uint16_t half = scale_of(format, value, other);
  const float scale = f16_to_float(half);
  const float inverse = scale != 0.0f && scale * 0.0f == 0.0f ? 1.0f / scale : 0.0f;
  if (lane == 0) {
    *reinterpret_cast<uint16_t*>(tile + kv_scale_offset(format, head_dim, position, first)) = half;
  }
  store_group(format, tile, head_dim, position, first, value, inverse);
  if (has_other) store_group(format, tile, head_dim, position, first + 1, other, inverse);
}

// The part of a warp: K or V of one head of a row.
__device__ __forceinline__ void store_head(Format format, std::byte* tile, int head_dim, int position,
                                           const float* from) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  if (!kv_has_scales(format)) {
    std::byte* const row = tile + position * kv_row_bytes(format, head_dim);
    for (int d = lane; d < head_dim; d += kWarpSize) store_number(format, row, d, from[d]);
    return;
  }
  for (int group = 0; group < kv_groups(head_dim); group += kv_sharing_groups(format)) {
    store_sharing_groups(format, tile, head_dim, position, group, from);
  }
}

// The warp's part of a row: the heads of K come first, then those of V.
__device__ __forceinline__ void store_part(const WriteKv& call, int part, int64_t row) {
  __shared__ float heads[kWriteWarps][kMaxHeadDim];
  const KvLayer& kv = call.kv;
  const int64_t slot = call.slots[row];
  if (slot < 0) return;
  const bool is_v = part >= kv.num_kv_heads;
  const int head = is_v ? part - kv.num_kv_heads : part;
  const Format format = is_v ? kv.v_format : k_codes(kv.k_format);
  const int64_t index = slot / kKvBlockSize * kv.num_kv_heads + head;
  std::byte* const tile = (is_v ? kv.v : kv.k) + index * kv_stored_bytes(format, kv.head_dim);
  const float* from = (is_v ? call.v + row * call.v_stride : call.k + row * call.k_stride) + head * kv.head_dim;
  if (is_v && kv.hadamard_v) {
    float* const copy = heads[threadIdx.y];
    __syncwarp();  // of the row before, all lanes have read
    for (int d = static_cast<int>(threadIdx.x); d < kv.head_dim; d += kWarpSize) copy[d] = from[d];
    hadamard_head(copy, kv.head_dim);
    from = copy;
  }
  store_head(format, tile, kv.head_dim, static_cast<int>(slot % kKvBlockSize), from);
}

// grid: parts, by warps; rows.
__global__ void __launch_bounds__(kWriteWarps* kWarpSize) write_kv_rows(const WriteKv call) {
  const int part = static_cast<int>(blockIdx.x * kWriteWarps + threadIdx.y);
  if (part >= 2 * call.kv.num_kv_heads) return;
  for (int64_t row = blockIdx.y; row < call.num_rows; row += gridDim.y) store_part(call, part, row);
}

struct RotateAndWrite {
  HeadRows q;
  HeadRows k;
  Rotation rotation;
  WriteKv write;
};

// The same; the heads of q come before those of K.
__global__ void __launch_bounds__(kWriteWarps* kWarpSize) rotate_and_write_rows(const RotateAndWrite call) {
  const int head = static_cast<int>(blockIdx.x * kWriteWarps + threadIdx.y);
  const int part = head - call.q.num_heads;
  if (part >= 2 * call.k.num_heads) return;
  for (int64_t row = blockIdx.y; row < call.write.num_rows; row += gridDim.y) {
    if (part < 0) {
      rotate_head(call.rotation, call.q, row, head);
      if (call.write.kv.hadamard_k) hadamard_head(call.q, row, head, call.rotation.head_dim);
      continue;
    }
    if (part < call.k.num_heads) {
      rotate_head(call.rotation, call.k, row, part);
      if (call.write.kv.hadamard_k) hadamard_head(call.k, row, part, call.rotation.head_dim);
      __syncwarp();
    }
    store_part(call.write, part, row);
  }
}

struct CopyKv {
  KvLayer kv;
  const KvCopy* copies;
  int64_t num_copies;
};

// One warp: `bytes` bytes at the same offset of both tiles, in words of a size that divides offset and bytes.
template <typename Word>
__device__ __forceinline__ void copy_words(const std::byte* from, std::byte* to, int offset, int bytes) {
  const auto* const source = reinterpret_cast<const Word*>(from + offset);
  auto* const target = reinterpret_cast<Word*>(to + offset);
  const int num_words = bytes / static_cast<int>(sizeof(Word));
  for (int i = static_cast<int>(threadIdx.x); i < num_words; i += kWarpSize) target[i] = source[i];
}

// grid: heads of K and then of V, by warps; copies.
__global__ void __launch_bounds__(kWriteWarps* kWarpSize) copy_kv_positions(const CopyKv call) {
  const KvLayer& kv = call.kv;
  const int part = static_cast<int>(blockIdx.x * kWriteWarps + threadIdx.y);
  if (part >= 2 * kv.num_kv_heads) return;
  const bool is_v = part >= kv.num_kv_heads;
  const Format format = is_v ? kv.v_format : k_codes(kv.k_format);
  const int row_bytes = kv_row_bytes(format, kv.head_dim);
  for (int64_t i = blockIdx.y; i < call.num_copies; i += gridDim.y) {
    const KvCopy copy = call.copies[i];
    const auto tile_of = [&](int32_t block) {
      const int64_t index = int64_t{block} * kv.num_kv_heads + part % kv.num_kv_heads;
      return (is_v ? kv.v : kv.k) + index * kv_stored_bytes(format, kv.head_dim);
    };
    const std::byte* const from = tile_of(copy.from);
    std::byte* const to = tile_of(copy.to);
    copy_words<uint2>(from, to, copy.first * row_bytes, copy.count * row_bytes);
    if (!kv_has_scales(format)) continue;
    const int fifth_bytes = kv_fifth_bytes(format, kv.head_dim);
    copy_words<uint32_t>(from, to, kv_fifth_offset(format, kv.head_dim, copy.first), copy.count * fifth_bytes);
    const int scales = kv_scale_offset(format, kv.head_dim, copy.first, 0);
    copy_words<uint16_t>(from, to, scales, copy.count * kv_scales(format, kv.head_dim) * 2);
  }
}

dim3 grid_of(int num_parts, int64_t num_rows) {
  return {static_cast<unsigned>(ceil_div(num_parts, kWriteWarps)),
          num_rows < kMaxGridRows ? static_cast<unsigned>(num_rows) : kMaxGridRows};
}

WriteKv call_of(const KvWrite& write, const float* k, int64_t k_stride) {
  return {write.kv, k, write.v, k_stride, write.v_stride, write.slots, write.num_rows};
}

void write_kv(const Exec& exec, const KvWrite& write, const float* k, int64_t k_stride) {
  launch(write_kv_rows, grid_of(2 * write.kv.num_kv_heads, write.num_rows), dim3(kWarpSize, kWriteWarps), 0,
         gpu_stream(exec), call_of(write, k, k_stride));
}

void copy_kv(const Exec& exec, const KvLayer& kv, const KvCopy* copies, int64_t num_copies) {
  launch(copy_kv_positions, grid_of(2 * kv.num_kv_heads, num_copies), dim3(kWarpSize, kWriteWarps), 0, gpu_stream(exec),
         CopyKv{kv, copies, num_copies});
}

void norm_rope_write_kv(const Exec& exec, const HeadRows& q, const HeadRows& k, const KvWrite& write,
                        const Rotation& rotation) {
  launch(rotate_and_write_rows, grid_of(q.num_heads + 2 * k.num_heads, write.num_rows), dim3(kWarpSize, kWriteWarps), 0,
         gpu_stream(exec), RotateAndWrite{q, k, rotation, call_of(write, k.x, k.stride)});
}

}  // namespace

void fill_write_kv_cuda(Kernels& table) {
  table.write_kv = write_kv;
  table.copy_kv = copy_kv;
  table.norm_rope_write_kv = norm_rope_write_kv;
}

}  // namespace quire
