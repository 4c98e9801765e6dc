// Q8_0: 32 signed bytes and a scale. The largest magnitude becomes 127.
#include <algorithm>
#include <cmath>

#include "tensor/formats/conversions.h"
#include "tensor/half.h"

namespace quire {
namespace {

void decode(const BlockQ8_0& block, float* out) {
  const float d = f16_to_f32(block.d);
  for (int i = 0; i < 32; ++i) out[i] = static_cast<float>(block.q[i]) * d;
}

BlockQ8_0 encode(const float* in) {
  float largest = 0;
  for (int i = 0; i < 32; ++i) largest = std::max(largest, std::abs(in[i]));
  const float d = largest / 127;
  BlockQ8_0 block = {.d = f32_to_f16(d), .q = {}};
  if (block.d == 0) return block;
  const float inverse = 1 / d;
  // Halves go away from zero here, as in ggml, so that files made by either are the same.
  for (int i = 0; i < 32; ++i) block.q[i] = static_cast<int8_t>(round_within(std::round(in[i] * inverse), -127, 127));
  return block;
}

BlockQ8_0 pack(const BlockParts& parts) {
  BlockQ8_0 block = {.d = parts.d, .q = {}};
  for (int i = 0; i < 32; ++i) block.q[i] = static_cast<int8_t>(parts.codes[i]);
  return block;
}

}  // namespace

FormatRows q8_0_formats() {
  static constexpr WeightFormat kRows[] = {
      block_format<BlockQ8_0, decode, encode>(Format::kQ8_0, "Q8_0"),
  };
  return kRows;
}

PackRows q8_0_packers() {
  static constexpr PackRow kRows[] = {
      pack_row<BlockQ8_0, pack>(Format::kQ8_0),
  };
  return kRows;
}

}  // namespace quire
