// F8_G128: 128 E4M3 floats under a float scale. The largest magnitude becomes E4M3's largest.
#include <algorithm>
#include <cmath>

#include "tensor/float8.h"
#include "tensor/formats/conversions.h"

namespace quire {
namespace {

void decode(const BlockF8& block, float* out) {
  for (int i = 0; i < BlockF8::kElements; ++i) out[i] = block.d * e4m3_to_f32(block.q[i]);
}

BlockF8 encode(const float* in) {
  float largest = 0;
  for (int i = 0; i < BlockF8::kElements; ++i) largest = std::max(largest, std::abs(in[i]));
  BlockF8 block = {.d = largest / kE4M3Largest, .q = {}};
  const float inverse = block.d > 0 ? 1 / block.d : 0;
  for (int i = 0; i < BlockF8::kElements; ++i) block.q[i] = f32_to_e4m3(in[i] * inverse);
  return block;
}

}  // namespace

FormatRows f8_formats() {
  static constexpr WeightFormat kRows[] = {
      block_format<BlockF8, decode, encode>(Format::kF8_G128, "F8_G128"),
  };
  return kRows;
}

}  // namespace quire
