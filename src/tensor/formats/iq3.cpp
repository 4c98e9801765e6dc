// IQ3_S: four elements at a time are one of 512 points of a grid, each coordinate an odd number of 1 to 15, with a sign
// for each element; a four-bit scale per 32 elements below an f16 per 256. 3.4 bits an element.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "tensor/formats/conversions.h"
#include "tensor/formats/iq3_points.h"
#include "tensor/half.h"

namespace quire {
namespace {

// 8 groups of 32. x[i] = d * (1 + 2 * scale(g)) * sign(i) * level(point(i / 4), i % 4). scale(g) is nibble g % 2 of
// scales[g / 2]. A point's number has nine bits: q[i / 4], and bit i / 4 % 8 of high[g] above. Bit i % 8 of signs[i /
// 8] is set for negative elements.
struct BlockIQ3_S {
  static constexpr int kElements = 256;
  uint16_t d;  // f16
  uint8_t q[64];
  uint8_t high[8];
  uint8_t signs[32];
  uint8_t scales[4];
};
static_assert(sizeof(BlockIQ3_S) == 110);

void decode(const BlockIQ3_S& block, float* out) {
  for (int i = 0; i < BlockIQ3_S::kElements; ++i) {
    const int group = i / 32;
    const int scale = (block.scales[group / 2] >> (4 * (group % 2))) & 15;
    const int number = block.q[i / 4] | (((block.high[group] >> (i / 4 % 8)) & 1) << 8);
    const float magnitude = f16_to_f32(block.d) * static_cast<float>(1 + 2 * scale) * iq3_level(number, i % 4);
    out[i] = ((block.signs[i / 8] >> (i % 8)) & 1) != 0 ? -magnitude : magnitude;
  }
}

void store_scale(BlockIQ3_S& block, int group, int scale) {
  block.scales[group / 2] = static_cast<uint8_t>(block.scales[group / 2] | (scale << (4 * (group % 2))));
}

// The point of elements i to i + 3.
void store_number(BlockIQ3_S& block, int i, int number) {
  block.q[i / 4] = static_cast<uint8_t>(number & 255);
  block.high[i / 32] = static_cast<uint8_t>(block.high[i / 32] | ((number >> 8) << (i / 4 % 8)));
}

void store_sign(BlockIQ3_S& block, int i, bool is_negative) {
  block.signs[i / 8] = static_cast<uint8_t>(block.signs[i / 8] | ((is_negative ? 1 : 0) << (i % 8)));
}

BlockIQ3_S pack(const BlockParts& parts) {
  BlockIQ3_S block = {};
  block.d = parts.d;
  for (int g = 0; g < 8; ++g) store_scale(block, g, parts.scales[g]);
  for (int i = 0; i < BlockIQ3_S::kElements; i += 4) store_number(block, i, parts.codes[i] & (kNumIQ3Points - 1));
  for (int i = 0; i < BlockIQ3_S::kElements; ++i) store_sign(block, i, parts.codes[i] >= kNumIQ3Points);
  return block;
}

// For any four digits, the number of the nearest point.
std::array<uint16_t, 4096> find_nearest() {
  std::array<uint16_t, 4096> nearest;
  for (int wanted = 0; wanted < 4096; ++wanted) {
    int best = std::numeric_limits<int>::max();
    for (int number = 0; number < kNumIQ3Points; ++number) {
      int distance = 0;
      for (int e = 0; e < 4; ++e) {
        const int apart = iq3_digit(wanted, e) - iq3_digit(kIQ3Points[number], e);
        distance += apart * apart;
      }
      if (distance >= best) continue;
      best = distance;
      nearest[static_cast<size_t>(wanted)] = static_cast<uint16_t>(number);
    }
  }
  return nearest;
}

// The levels of all points, for each of the four elements.
struct Levels {
  float of[4][kNumIQ3Points] = {};
};
constexpr Levels kLevels = [] {
  Levels levels;
  for (int e = 0; e < 4; ++e) {
    for (int number = 0; number < kNumIQ3Points; ++number) levels.of[e][number] = iq3_level(number, e);
  }
  return levels;
}();

// The number of the nearest point.
int nearest_number(const float* x, float inverse) {
  std::array<float, kNumIQ3Points> distances = {};
  for (int e = 0; e < 4; ++e) {
    const float wanted = std::abs(x[e]) * inverse;
    for (size_t number = 0; number < kNumIQ3Points; ++number) {
      const float apart = wanted - kLevels.of[e][number];
      distances[number] += apart * apart;
    }
  }
  return static_cast<int>(std::ranges::min_element(distances) - distances.begin());
}

constexpr int kGroup = 32;
constexpr int kHighestScale = 31;  // 1 + 2 * 15

// The level of one for a group, by least squares: the largest element is put on many levels in turn, and each time the
// best scale has a closed form.
float search_group_scale(const float* x) {
  float largest = 0;
  for (int i = 0; i < kGroup; ++i) largest = std::max(largest, std::abs(x[i]));
  if (!(largest > 1e-20f)) return 0;
  float best_scale = 0;
  float best_gain = 0;  // the squared error falls by (x . l)^2 / (l . l) against all zeros
  for (float highest = 1; highest < 20; highest += 0.5f) {
    const float inverse = highest / largest;
    float xl = 0;
    float ll = 0;
    for (int i = 0; i < kGroup; i += 4) {
      const int number = near_iq3_number(x + i, inverse);
      for (int e = 0; e < 4; ++e) {
        xl += std::abs(x[i + e]) * iq3_level(number, e);
        ll += iq3_level(number, e) * iq3_level(number, e);
      }
    }
    if (xl * xl > best_gain * ll) {
      best_gain = xl * xl / ll;
      best_scale = xl / ll;
    }
  }
  return best_scale;
}

BlockIQ3_S encode(const float* in) {
  std::array<float, 8> wanted;
  for (size_t g = 0; g < 8; ++g) wanted[g] = search_group_scale(in + kGroup * g);
  BlockIQ3_S block = {};
  block.d = f32_to_f16(*std::ranges::max_element(wanted) / kHighestScale);
  const float d = f16_to_f32(block.d);
  for (int g = 0; g < 8; ++g) {
    const float factor = d > 0 ? wanted[static_cast<size_t>(g)] / d : 0;
    const int scale = static_cast<int>(round_within((factor - 1) / 2, 0, 15));
    store_scale(block, g, scale);
    const float inverse = d > 0 ? 1 / (d * static_cast<float>(1 + 2 * scale)) : 0;
    for (int i = kGroup * g; i < kGroup * (g + 1); i += 4) {
      store_number(block, i, nearest_number(in + i, inverse));
      for (int e = i; e < i + 4; ++e) store_sign(block, e, in[e] < 0);
    }
  }
  return block;
}

}  // namespace

int near_iq3_number(const float* x, float inverse) {
  static const std::array<uint16_t, 4096> kNearest = find_nearest();
  size_t wanted = 0;
  for (int e = 0; e < 4; ++e) {
    const float rounded = round_within((std::abs(x[e]) * inverse - 1) / 2, 0, 7);
    wanted = wanted << 3 | static_cast<size_t>(rounded);
  }
  return kNearest[wanted];
}

FormatRows iq3_formats() {
  static constexpr WeightFormat kRows[] = {
      block_format<BlockIQ3_S, decode, encode>(Format::kIQ3_S, "IQ3_S"),
  };
  return kRows;
}

PackRows iq3_packers() {
  static constexpr PackRow kRows[] = {
      pack_row<BlockIQ3_S, pack>(Format::kIQ3_S),
  };
  return kRows;
}

}  // namespace quire
