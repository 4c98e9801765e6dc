// The quantised KV formats (kernels.h, KvLayer): their layout and the quantisation of one position; and conversion to
// E4M3. math.h says how the files of this folder are used.
#pragma once

#include "isa/vec.h"
#include "isa/words.h"
#include "kernels/kernels.h"

namespace quire {
namespace {

inline bool is_quantised(Format format) { return format == Format::kQ8_0 || format == Format::kQ4_0; }
constexpr int64_t kHalfGroup = kKvGroup / 2;
constexpr uint16_t kNanF16 = 0x7e00;

// Bytes of the codes of a group, without fifth bits.
constexpr int64_t codes_bytes(Format format) { return kKvGroup * kKvBlockSize / (format == Format::kQ4_0 ? 2 : 1); }
constexpr bool has_fifth_bits(Format format, bool is_v) { return format == Format::kQ4_0 && !is_v; }
constexpr int64_t group_bytes(Format format, bool is_v) {
  return codes_bytes(format) + (has_fifth_bits(format, is_v) ? kKvBlockSize * 4 : 0);
}
// Neighbouring groups that share a scale.
constexpr int sharing_groups(Format format) { return format == Format::kQ4_0 ? 2 : 1; }
inline int64_t num_groups(int64_t head_dim) { return (head_dim + kKvGroup - 1) / kKvGroup; }
// The offset in the tile of the scales [kKvBlockSize] of a group.
inline int64_t scales_at(Format format, bool is_v, int64_t head_dim, int64_t group) {
  return num_groups(head_dim) * group_bytes(format, is_v) + group / sharing_groups(format) * kKvBlockSize * 2;
}
constexpr float least_code(Format format, bool is_v) {
  return format == Format::kQ8_0 ? -127.0f : has_fifth_bits(format, is_v) ? -16.0f : -8.0f;
}

// Quantises values that share a scale to codes as Kernels::write_kv specifies, and returns the f16 scale. `count` is a
// multiple of kKvGroup.
inline uint16_t quantise_values(Format format, bool is_v, const float* values, int64_t count, int16_t* codes) {
  Vec least = set1(0), most = set1(0), bad = set1(0);
  for (int64_t i = 0; i < count; i += kLanes) {
    const Vec x = load(values + i);
    least = min(x, least);
    most = max(x, most);
    bad = fma(x, set1(0), bad);  // becomes NaN when x has an infinity or a NaN
  }
  const float high = max_lanes(most);
  const float low = -max_lanes(sub(set1(0), least));
  const bool bytes = format == Format::kQ8_0;
  const float first = least_code(format, is_v);
  alignas(64) uint16_t halves[kLanes];
  store_f16(halves, set1(bytes ? (high >= -low ? high : -low) / 127.0f : (high >= -low ? high : low) / first));
  if (sum_lanes(bad) != 0) halves[0] = kNanF16;
  alignas(64) float scales[kLanes];
  store(scales, load_f16(halves));
  const float scale = scales[0];
  const bool usable = scale != 0 && scale - scale == 0;  // finite
  const Vec inverse = set1(usable ? 1.0f / scale : 0.0f);
  const Vec last = set1(bytes ? 127.0f : -first - 1.0f);
  for (int64_t i = 0; i < count; i += kLanes) {
    const Vec code = usable ? mul(load(values + i), inverse) : set1(0);
    store_i16(codes + i, max(set1(first), min(last, code)));
  }
  return halves[0];
}

// Rounds to nearest, ties to even; values beyond the largest number become that number, NaN stays NaN.
inline uint8_t e4m3_code(float x) {
  uint32_t bits;
  __builtin_memcpy(&bits, &x, sizeof bits);
  const uint32_t sign = bits >> 24 & 0x80u;
  bits &= 0x7fffffffu;
  constexpr uint32_t kMinNormal = 0x3c800000;  // 2^-6
  constexpr uint32_t kRebias = 120u << 23;
  const uint32_t normal = (bits + 0x7ffffu + (bits >> 20 & 1u) - kRebias) >> 20;
  // Below 2^-6 a code counts units of 2^-9, as does the last bit of a float near 2^14.
  constexpr float kUnits = 0x1p14f;
  const float shifted = __builtin_fabsf(x) + kUnits;
  uint32_t small;
  __builtin_memcpy(&small, &shifted, sizeof small);
  constexpr uint32_t kUnitsBits = 0x46800000;
  const uint32_t code = bits < kMinNormal ? small - kUnitsBits : normal;
  constexpr uint32_t kInfinity = 0x7f800000;
  constexpr uint32_t kLargest = 0x7e;
  return static_cast<uint8_t>(sign | (bits > kInfinity ? 0x7fu : code < kLargest ? code : kLargest));
}

// Stores the codes of a group at one position.
inline void store_codes(Format format, bool is_v, const int16_t* codes, std::byte* group, int64_t p) {
  const bool bytes = format == Format::kQ8_0;
  const int64_t width = bytes ? kKvGroup : kHalfGroup;  // bytes of a position
  const int bias = bytes ? 0 : has_fifth_bits(format, is_v) ? 16 : 8;
  std::byte* const start = group + (is_v ? p / 2 * width * 2 + p % 2 : p * 2);
  for (int64_t d = 0; d < width; ++d) {
    const int code = bytes ? codes[d] : ((codes[d] + bias) & 15) | (codes[d + kHalfGroup] + bias) << 4;
    start[is_v ? d * 2 : d / 2 * kKvBlockSize * 2 + d % 2] = static_cast<std::byte>(code);
  }
  if (!has_fifth_bits(format, is_v)) return;
  uint32_t bits = 0;
  for (int d = 0; d < kKvGroup; ++d) bits |= static_cast<uint32_t>(codes[d] >= 0) << (d / 2 + d % 2 * 16);
  __builtin_memcpy(group + codes_bytes(format) + p * 4, &bits, 4);
}

// Stores one position of a tile; `is_v` selects the layout. Positions share no byte.
inline void store_position(Format format, const float* values, int head_dim, std::byte* tile, int64_t p, bool is_v) {
  constexpr int64_t kMostDims = 2 * kKvGroup;
  const int64_t groups = num_groups(head_dim);
  for (int64_t first = 0; first < groups; first += sharing_groups(format)) {
    alignas(64) float shared[kMostDims] = {};
    alignas(64) int16_t codes[kMostDims];
    const int64_t end = first + sharing_groups(format) < groups ? first + sharing_groups(format) : groups;
    const int64_t dims = (end * kKvGroup < head_dim ? end * kKvGroup : head_dim) - first * kKvGroup;
    __builtin_memcpy(shared, values + first * kKvGroup, static_cast<size_t>(dims) * sizeof(float));
    const uint16_t scale = quantise_values(format, is_v, shared, (end - first) * kKvGroup, codes);
    __builtin_memcpy(tile + scales_at(format, is_v, head_dim, first) + p * 2, &scale, 2);
    for (int64_t group = first; group < end; ++group) {
      store_codes(format, is_v, codes + (group - first) * kKvGroup, tile + group * group_bytes(format, is_v), p);
    }
  }
}

}  // namespace
}  // namespace quire
