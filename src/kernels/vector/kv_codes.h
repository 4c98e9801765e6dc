// The quantised KV formats (kernels.h, KvLayer): the layout of a group and the quantisation of one position; and
// conversion to E4M3. math.h says how the files of this folder are used.
#pragma once

#include "isa/vec.h"
#include "isa/words.h"
#include "kernels/kernels.h"

namespace quire {
namespace {

inline bool is_quantised(Format format) { return format == Format::kQ8_0 || format == Format::kQ4_0; }
constexpr int64_t kHalfGroup = kKvScaleGroup / 2;
constexpr uint16_t kNanF16 = 0x7e00;

constexpr int64_t codes_bytes(Format format) {
  return kKvScaleGroup * kKvBlockSize / (format == Format::kQ4_0 ? 2 : 1);
}
constexpr int64_t group_bytes(Format format) { return codes_bytes(format) + kKvBlockSize * 2; }

// Quantises kKvScaleGroup floats to codes as Kernels::write_kv specifies, and returns the f16 scale.
inline uint16_t quantise_group(Format format, const float* values, int16_t* codes) {
  Vec least = set1(0), most = set1(0), bad = set1(0);
  for (int i = 0; i < kKvScaleGroup; i += kLanes) {
    const Vec x = load(values + i);
    least = min(x, least);
    most = max(x, most);
    bad = fma(x, set1(0), bad);  // becomes NaN when x has an infinity or a NaN
  }
  const float high = max_lanes(most);
  const float low = -max_lanes(sub(set1(0), least));
  const bool bytes = format == Format::kQ8_0;
  alignas(64) uint16_t halves[kLanes];
  store_f16(halves, set1(bytes ? (high >= -low ? high : -low) / 127.0f : (high >= -low ? high : low) / -8.0f));
  if (sum_lanes(bad) != 0) halves[0] = kNanF16;
  alignas(64) float scales[kLanes];
  store(scales, load_f16(halves));
  const float scale = scales[0];
  const bool usable = scale != 0 && scale - scale == 0;  // finite
  const Vec inverse = set1(usable ? 1.0f / scale : 0.0f);
  const Vec first = set1(bytes ? -127.0f : -8.0f);
  const Vec last = set1(bytes ? 127.0f : 7.0f);
  for (int i = 0; i < kKvScaleGroup; i += kLanes) {
    const Vec code = usable ? mul(load(values + i), inverse) : set1(0);
    store_i16(codes + i, max(first, min(last, code)));
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

// Stores one position into the groups of its tile; `is_v` selects the layout. Positions share no byte.
inline void store_position(Format format, const float* values, int head_dim, std::byte* tile, int64_t p, bool is_v) {
  const bool bytes = format == Format::kQ8_0;
  const int64_t width = bytes ? kKvScaleGroup : kHalfGroup;  // bytes of a position
  // The stride between pairs of dimensions (K) or dimensions (V).
  std::byte* const start = tile + (is_v ? p / 2 * width * 2 + p % 2 : p * 2);
  for (int first = 0; first < head_dim; first += kKvScaleGroup) {
    alignas(64) float group[kKvScaleGroup] = {};
    alignas(64) int16_t codes[kKvScaleGroup];
    const int count = head_dim - first < kKvScaleGroup ? head_dim - first : kKvScaleGroup;
    __builtin_memcpy(group, values + first, static_cast<size_t>(count) * sizeof(float));
    const int64_t offset = first / kKvScaleGroup * group_bytes(format);
    const uint16_t scale = quantise_group(format, group, codes);
    __builtin_memcpy(tile + offset + codes_bytes(format) + p * 2, &scale, 2);
    for (int64_t d = 0; d < width; ++d) {
      const int code = bytes ? codes[d] : (codes[d] + 8) | (codes[d + kHalfGroup] + 8) << 4;
      start[offset + (is_v ? d * 2 : d / 2 * kKvBlockSize * 2 + d % 2)] = static_cast<std::byte>(code);
    }
  }
}

}  // namespace
}  // namespace quire
