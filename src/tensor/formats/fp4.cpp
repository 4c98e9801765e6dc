// MXFP4: four-bit floats (E2M1) and a power of two per 32. The largest magnitude comes to lie between 4 and 8 times the
// scale, where above 6 it is cut off: the rule of the OCP specification, and ggml's.
#include <algorithm>
#include <cmath>

#include "tensor/float8.h"
#include "tensor/formats/conversions.h"

namespace quire {
namespace {

void decode(const BlockMXFP4& block, float* out) {
  const float d = e8m0_half_to_f32(block.e);
  for (int i = 0; i < 16; ++i) {
    out[i] = d * static_cast<float>(kMXFP4Levels[block.q[i] & 15]);
    out[i + 16] = d * static_cast<float>(kMXFP4Levels[block.q[i] >> 4]);
  }
}

// The nearest level, the first in the table among equals.
int code_of(float value) {
  int best = 0;
  for (int code = 1; code < 16; ++code) {
    const auto distance = [value](int c) { return std::abs(static_cast<float>(kMXFP4Levels[c]) - value); };
    if (distance(code) < distance(best)) best = code;
  }
  return best;
}

BlockMXFP4 encode(const float* in) {
  float largest = 0;
  for (int i = 0; i < 32; ++i) largest = std::max(largest, std::abs(in[i]));
  BlockMXFP4 block = {};
  if (largest > 0 && std::isfinite(largest)) {
    block.e = static_cast<uint8_t>(std::clamp(std::ilogb(largest) - 2 + 127, 0, 254));
  }
  const float inverse = 1 / e8m0_half_to_f32(block.e);
  for (int i = 0; i < 16; ++i) {
    block.q[i] = static_cast<uint8_t>(code_of(in[i] * inverse) | (code_of(in[i + 16] * inverse) << 4));
  }
  return block;
}

}  // namespace

FormatRows fp4_formats() {
  static constexpr WeightFormat kRows[] = {
      block_format<BlockMXFP4, decode, encode>(Format::kMXFP4, "MXFP4"),
  };
  return kRows;
}

}  // namespace quire
