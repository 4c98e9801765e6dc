#include "compress/blocks/point_search.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "compress/methods/group_fit.h"
#include "tensor/formats/iq3_points.h"
#include "tensor/half.h"

namespace quire {
namespace {

constexpr int kPointGroup = 32;
constexpr int kPointGroups = 8;
constexpr int kHighestScale = 31;  // 1 + 2 * 15

// The levels of all points, for each of the four elements.
struct PointLevels {
  float of[4][kNumIQ3Points] = {};

  constexpr PointLevels() {
    for (int e = 0; e < 4; ++e) {
      for (int number = 0; number < kNumIQ3Points; ++number) of[e][number] = iq3_level(number, e);
    }
  }
};
constexpr PointLevels kPointLevels;

// The point of four magnitudes with the least weighted error: w * (level^2 - 2 * level * wanted), up to a constant.
int best_number(const float* x, const float* w, float inverse) {
  Four least = all_four(kNoFit);
  Four numbers = {};
  Four here = {0, 1, 2, 3};
  for (int number = 0; number < kNumIQ3Points; number += 4) {
    Four error = {};
    for (int e = 0; e < 4; ++e) {
      const Four level = load_four(kPointLevels.of[e] + number);
      error += w[e] * level * (level - 2 * std::abs(x[e]) * inverse);
    }
    numbers = error < least ? here : numbers;
    least = error < least ? error : least;
    here += all_four(4);
  }
  int lane = 0;
  for (int other = 1; other < 4; ++other) {
    if (least[other] < least[lane]) lane = other;
  }
  return static_cast<int>(numbers[lane]);
}

struct PointGroup {
  LevelSums sums = {};
  float error = 0;
  void add(const float* x, const float* w, float scale, int number) {
    for (int e = 0; e < 4; ++e) {
      const float level = iq3_level(number, e);
      const float magnitude = std::abs(x[e]);
      sums.xl += w[e] * magnitude * level;
      sums.ll += w[e] * level * level;
      error += w[e] * (magnitude - scale * level) * (magnitude - scale * level);
    }
  }
};

// A group at one scale, by points that are near (quick) or best (exact).
PointGroup group_at(const float* x, const float* w, float scale, bool exact) {
  const float inverse = scale > 0 ? 1 / scale : 0;
  PointGroup group;
  for (int i = 0; i < kPointGroup; i += 4) {
    group.add(x + i, w + i, scale, exact ? best_number(x + i, w + i, inverse) : near_iq3_number(x + i, inverse));
  }
  return group;
}

float fit_group(const float* x, const float* w) {
  const float largest = std::abs(largest_magnitude<kPointGroup>(x));
  if (!(largest > 1e-20f)) return 0;
  LevelSums best;
  for (float highest = 3; highest < 20; highest += 0.5f) {
    const LevelSums sums = group_at(x, w, largest / highest, false).sums;
    if (sums.gain() > best.gain()) best = sums;
  }
  return best.ll > 0 ? best.xl / best.ll : 0;
}

struct PointChoice {
  uint16_t d = 0;
  int scales[kPointGroups] = {};
  float error = 0;
  LevelSums sums = {};  // with d as the unit
};

PointChoice choose_points(const float* x, const float* w, const float* wanted, uint16_t d16, bool exact) {
  PointChoice choice = {.d = d16};
  const float d = f16_to_f32(d16);
  for (int g = 0; g < kPointGroups; ++g) {
    const float factor = d > 0 ? wanted[g] / d : 0;
    const int centre = static_cast<int>(round_within(all_four((factor - 1) / 2), 0, 15)[0]);
    PointGroup best = {.error = kNoFit};
    for (int scale = std::max(0, centre - 1); scale <= std::min(15, centre + 1); ++scale) {
      const PointGroup group =
          group_at(x + kPointGroup * g, w + kPointGroup * g, d * static_cast<float>(1 + 2 * scale), exact);
      if (!(group.error < best.error)) continue;
      best = group;
      choice.scales[g] = scale;
    }
    const auto unit = static_cast<float>(1 + 2 * choice.scales[g]);
    choice.error += best.error;
    choice.sums.xl += unit * best.sums.xl;
    choice.sums.ll += unit * unit * best.sums.ll;
  }
  return choice;
}

}  // namespace

void search_points(const float* x, const float* w, BlockParts& parts) {
  float wanted[kPointGroups];
  for (int g = 0; g < kPointGroups; ++g) wanted[g] = fit_group(x + kPointGroup * g, w + kPointGroup * g);
  const float largest = *std::max_element(wanted, wanted + kPointGroups);
  PointChoice quick = {.error = kNoFit};
  for (const float share : {1.0f, 0.95f, 0.9f, 0.85f}) {
    const PointChoice choice = choose_points(x, w, wanted, f32_to_f16(share * largest / kHighestScale), false);
    if (choice.error < quick.error) quick = choice;
  }
  PointChoice best = choose_points(x, w, wanted, quick.d, true);
  const PointChoice refit =
      choose_points(x, w, wanted, f32_to_f16(best.sums.ll > 0 ? best.sums.xl / best.sums.ll : 0), true);
  if (refit.error < best.error) best = refit;
  parts.d = best.d;
  for (int g = 0; g < kPointGroups; ++g) {
    parts.scales[g] = best.scales[g];
    const float scale = f16_to_f32(best.d) * static_cast<float>(1 + 2 * best.scales[g]);
    const float inverse = scale > 0 ? 1 / scale : 0;
    for (int i = kPointGroup * g; i < kPointGroup * (g + 1); i += 4) {
      const int number = best_number(x + i, w + i, inverse);
      for (int e = i; e < i + 4; ++e) parts.codes[e] = number + (x[e] < 0 ? kNumIQ3Points : 0);
    }
  }
}

}  // namespace quire
