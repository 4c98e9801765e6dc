// S8_G64: of every 64 elements at most 32 signed bytes under a scale, and which elements they are. Quantising keeps the
// largest magnitudes, so the values of a matrix that was pruned to that share keep their places.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>

#include "tensor/formats/conversions.h"
#include "tensor/half.h"

namespace quire {
namespace {

void decode(const BlockS8& block, float* out) {
  const float d = f16_to_f32(block.d);
  int next = 0;
  for (int i = 0; i < BlockS8::kElements; ++i) {
    const bool has_code = next < BlockS8::kKept && ((block.kept[i / 16] >> (i % 16)) & 1) != 0;
    out[i] = has_code ? d * static_cast<float>(block.q[next++]) : 0.0f;
  }
}

// The elements to keep, the largest first; the earlier one of equals.
std::array<int, BlockS8::kElements> by_magnitude(const float* in) {
  const auto magnitude = [in](int i) {
    return std::isnan(in[i]) ? std::numeric_limits<float>::infinity() : std::abs(in[i]);
  };
  std::array<int, BlockS8::kElements> order;
  std::iota(order.begin(), order.end(), 0);
  std::ranges::sort(order, [&](int a, int b) {
    const float of_a = magnitude(a), of_b = magnitude(b);
    return of_a > of_b || (of_a == of_b && a < b);
  });
  return order;
}

BlockS8 encode(const float* in) {
  const auto order = by_magnitude(in);
  BlockS8 block = {.d = f32_to_f16(std::abs(in[order[0]]) / 127), .kept = {}, .q = {}};
  const float d = f16_to_f32(block.d);
  const float inverse = d > 0 ? 1 / d : 0;
  for (int rank = 0; rank < BlockS8::kKept; ++rank) {
    const int i = order[static_cast<size_t>(rank)];
    if (in[i] != 0) block.kept[i / 16] = static_cast<uint16_t>(block.kept[i / 16] | (1 << (i % 16)));
  }
  int next = 0;
  for (int i = 0; i < BlockS8::kElements; ++i) {
    if (((block.kept[i / 16] >> (i % 16)) & 1) == 0) continue;
    block.q[next++] = static_cast<int8_t>(round_within(in[i] * inverse, -127, 127));
  }
  return block;
}

}  // namespace

FormatRows s8_formats() {
  static constexpr WeightFormat kRows[] = {
      block_format<BlockS8, decode, encode>(Format::kS8_G64, "S8_G64"),
  };
  return kRows;
}

}  // namespace quire
