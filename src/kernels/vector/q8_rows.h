// The packed rows of a vector table (Kernels::pack_rows): int8 codes with scales and sums. math.h says how the files of
// this folder are used.
#pragma once

#include "isa/bytes.h"
#include "isa/vec.h"
#include "kernels/vector/loops.h"
#include "kernels/vector/matmul_layout.h"

namespace quire {
namespace {

// 256 columns of a row. Values that are read together lie together, at offsets that the compiler knows.
struct Q8Block {
  int8_t codes[kBlockColumns];
  float scale[kBlockGroups];
  int32_t sum[kBlockGroups];           // the sums of the codes of each group
  int32_t half_sum[2 * kBlockGroups];  // the sums of the codes of each half group
};

// Rows are an odd number of cache lines apart, so that the same columns of several tokens do not share a cache set.
[[maybe_unused]] size_t q8_bytes(int64_t cols) {
  const auto bytes = static_cast<size_t>(divide_up(cols, kBlockColumns)) * sizeof(Q8Block);
  return ((bytes + 63) / 64 | 1) * 64;
}

// Quantises one group exactly as quantize_group in reference/matmul.cpp.
inline void quantize_group(const float* x, int group, Q8Block& out) {
  constexpr float kSmallestMax = 0x1p-100f;
  Vec largest = set1(0);
  Vec poison = set1(0);  // becomes NaN: 0 times an infinity or a NaN is NaN
  for (int i = 0; i < kGroup; i += kLanes) {
    largest = max(largest, abs(load(x + i)));
    poison = fma(load(x + i), set1(0), poison);
  }
  const float not_finite = sum_lanes(poison);
  const float peak = max_lanes(largest);
  const bool has_codes = not_finite == 0 && peak >= kSmallestMax;
  const float scale = has_codes ? peak / 127.0f : not_finite;
  out.scale[group] = scale;
  for (int half = 0; half < 2; ++half) {
    Vec sum = set1(0);
    for (int i = half * kGroup / 2; i < (half + 1) * kGroup / 2; i += kLanes) {
      const Vec code = has_codes ? round_nearest(mul(load(x + i), set1(127.0f / peak))) : set1(0);
      store_i8(out.codes + group * kGroup + i, code);
      sum = add(sum, code);
    }
    out.half_sum[2 * group + half] = static_cast<int>(sum_lanes(sum));
  }
  out.sum[group] = out.half_sum[2 * group] + out.half_sum[2 * group + 1];
}

}  // namespace
}  // namespace quire
