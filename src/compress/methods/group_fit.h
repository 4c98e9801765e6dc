// Weighted least squares of a group of weights that share a scale, and perhaps a minimum: what the searches of blocks
// (block_search.h) are made of. N elements, a multiple of four; `w` are their weights.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>

namespace quire {

// The error before anything was tried.
inline constexpr float kNoFit = std::numeric_limits<float>::infinity();

// Four floats in a register. Sums run in four lanes, which are added in a fixed order.
typedef float Four __attribute__((vector_size(16)));

inline Four load_four(const float* p) { return Four{p[0], p[1], p[2], p[3]}; }
inline float sum_lanes(Four v) { return (v[0] + v[1]) + (v[2] + v[3]); }
inline Four all_four(float value) { return Four{value, value, value, value}; }

// Nearest integers within [low, high], ties to even: adding 1.5 * 2^23 leaves no bits for a fraction.
inline Four round_within(Four value, float low, float high) {
  const Four no_fraction = all_four(0x1.8p23f);
  const Four above = value > all_four(low) ? value : all_four(low);
  const Four clamped = above < all_four(high) ? above : all_four(high);
  return (clamped + no_fraction) - no_fraction;
}

// What codes can stand for: all integers from low to high.
struct WholeLevels {
  float low;
  float high;
  int first_code;  // as stored

  Four nearest(Four value) const { return round_within(value, low, high); }
  int code(float value) const {
    return static_cast<int>(round_within(all_four(value), low, high)[0]) - static_cast<int>(low) + first_code;
  }
};

// Or up to 16 uneven ones.
struct TableLevels {
  std::array<float, 16> level;   // increasing
  std::array<float, 15> middle;  // from there on the next level is nearer
  std::array<int, 16> code_of;   // as stored
  float low;
  float high;

  int index(float value) const {
    size_t index = 0;
    for (const size_t step : {8, 4, 2, 1}) index += value >= middle[index + step - 1] ? step : 0;
    return static_cast<int>(index);
  }
  float nearest(float value) const { return level[static_cast<size_t>(index(value))]; }
  Four nearest(Four value) const {
    return Four{nearest(value[0]), nearest(value[1]), nearest(value[2]), nearest(value[3])};
  }
  int code(float value) const { return code_of[static_cast<size_t>(index(value))]; }
};

// The table of `levels` in any order, each with its index as its code.
constexpr TableLevels sorted_levels(const int8_t (&levels)[16]) {
  TableLevels table = {};
  for (size_t i = 0; i < 16; ++i) table.code_of[i] = static_cast<int>(i);
  std::sort(table.code_of.begin(), table.code_of.end(),
            [&](int a, int b) { return levels[a] != levels[b] ? levels[a] < levels[b] : a < b; });
  for (size_t i = 0; i < 16; ++i) table.level[i] = levels[table.code_of[i]];
  for (size_t i = 0; i < 15; ++i) table.middle[i] = (table.level[i] + table.level[i + 1]) / 2;
  table.low = table.level.front();
  table.high = table.level.back();
  return table;
}

// Sums over a group with the levels nearest to x / scale: products with x, and squares.
struct LevelSums {
  float xl = 0;
  float ll = 0;

  // By how much the error is below that of all zeros at the best scale for these levels, xl / ll.
  float gain() const { return ll > 0 ? xl * xl / ll : 0; }
};

template <int N, typename Levels>
LevelSums level_sums(const float* x, const float* w, float inverse, const Levels& levels) {
  Four xl = {};
  Four ll = {};
  for (int i = 0; i < N; i += 4) {
    const Four value = load_four(x + i);
    const Four level = levels.nearest(value * inverse);
    const Four weighted = load_four(w + i) * level;
    xl += weighted * value;
    ll += weighted * level;
  }
  return {sum_lanes(xl), sum_lanes(ll)};
}

// sum w * (x - scale * level)^2
template <int N, typename Levels>
float scaled_error(const float* x, const float* w, float scale, const Levels& levels) {
  const float inverse = scale == 0 ? 0 : 1 / scale;
  Four error = {};
  for (int i = 0; i < N; i += 4) {
    const Four value = load_four(x + i);
    const Four difference = value - scale * levels.nearest(value * inverse);
    error += load_four(w + i) * difference * difference;
  }
  return sum_lanes(error);
}

template <int N>
float largest_magnitude(const float* x) {
  float largest = 0;
  for (int i = 0; i < N; ++i) largest = std::abs(x[i]) > std::abs(largest) ? x[i] : largest;
  return largest;
}

// The scale of x ~ scale * level, of either sign. The largest element is put on either end of the levels and around it:
// `reach` levels within and beyond in `steps` steps.
template <int N, typename Levels>
float fit_scale(const float* x, const float* w, const Levels& levels, float inside, float beyond, int steps) {
  const float largest = largest_magnitude<N>(x);
  if (!(std::abs(largest) > 1e-20f)) return 0;
  LevelSums best;
  for (const float end : {levels.low, levels.high}) {
    for (int step = 0; step <= steps; ++step) {
      const float share = static_cast<float>(step) / static_cast<float>(steps);
      const float inverse = end * (1 - inside + (inside + beyond) * share) / largest;
      const LevelSums sums = level_sums<N>(x, w, inverse, levels);
      if (sums.gain() > best.gain()) best = sums;
    }
  }
  for (int pass = 0; pass < 4 && best.xl != 0; ++pass) {
    const LevelSums sums = level_sums<N>(x, w, best.ll / best.xl, levels);
    if (!(sums.gain() > best.gain())) break;
    best = sums;
  }
  return best.ll > 0 ? best.xl / best.ll : 0;
}

// x ~ scale * q - minimum, q in 0..max_code, scale >= 0.
struct Affine {
  float scale = 0;
  float minimum = 0;
};

template <int N>
float affine_error(const float* x, const float* w, Affine fit, float max_code) {
  const float inverse = fit.scale > 0 ? 1 / fit.scale : 0;
  Four error = {};
  for (int i = 0; i < N; i += 4) {
    const Four above = load_four(x + i) + fit.minimum;
    const Four difference = above - fit.scale * round_within(above * inverse, 0, max_code);
    error += load_four(w + i) * difference * difference;
  }
  return sum_lanes(error);
}

// Sums over a group with the codes that `fit` gives to x.
struct AffineSums {
  float w = 0;
  float q = 0;
  float qq = 0;
  float x = 0;
  float xq = 0;
};

template <int N>
AffineSums affine_sums(const float* x, const float* w, Affine fit, float max_code) {
  const float inverse = fit.scale > 0 ? 1 / fit.scale : 0;
  Four sum_w = {};
  Four sum_q = {};
  Four sum_qq = {};
  Four sum_x = {};
  Four sum_xq = {};
  for (int i = 0; i < N; i += 4) {
    const Four value = load_four(x + i);
    const Four weight = load_four(w + i);
    const Four code = round_within((value + fit.minimum) * inverse, 0, max_code);
    const Four weighted = weight * code;
    sum_w += weight;
    sum_q += weighted;
    sum_qq += weighted * code;
    sum_x += weight * value;
    sum_xq += weighted * value;
  }
  return {sum_lanes(sum_w), sum_lanes(sum_q), sum_lanes(sum_qq), sum_lanes(sum_x), sum_lanes(sum_xq)};
}

// The best fit for the codes that `fit` gives to x; with is_free the minimum may be negative.
template <int N>
Affine refit(const float* x, const float* w, Affine fit, float max_code, bool is_free) {
  const AffineSums sums = affine_sums<N>(x, w, fit, max_code);
  const float determinant = sums.w * sums.qq - sums.q * sums.q;
  if (determinant > 0) {
    const Affine solved = {(sums.w * sums.xq - sums.x * sums.q) / determinant,
                           (sums.q * sums.xq - sums.qq * sums.x) / determinant};
    if (solved.scale > 0 && (is_free || solved.minimum >= 0)) return solved;
  }
  if (!is_free && sums.qq > 0 && sums.xq > 0) return {sums.xq / sums.qq, 0};
  return fit;
}

// Tries ranges of codes a little shorter and longer than that of the elements.
template <int N>
Affine fit_affine(const float* x, const float* w, float max_code, bool is_free, float spread, int steps) {
  float low = x[0];
  float high = x[0];
  for (int i = 1; i < N; ++i) {
    low = x[i] < low ? x[i] : low;
    high = x[i] > high ? x[i] : high;
  }
  const float minimum = is_free || low < 0 ? -low : 0;
  const float range = high + minimum;
  if (!(range > 1e-20f)) return {0, minimum};
  Affine best = {range / max_code, minimum};
  float best_error = affine_error<N>(x, w, best, max_code);
  for (int step = 0; step <= steps; ++step) {
    const float share = 2 * static_cast<float>(step) / static_cast<float>(steps) - 1;
    Affine fit = {range / (max_code * (1 + spread * share)), minimum};
    for (int pass = 0; pass < 2; ++pass) fit = refit<N>(x, w, fit, max_code, is_free);
    const float error = affine_error<N>(x, w, fit, max_code);
    if (error < best_error) {
      best_error = error;
      best = fit;
    }
  }
  return best;
}

}  // namespace quire
