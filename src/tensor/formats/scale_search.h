// How the k- and IQ4 formats choose their scales: least squares. For fixed codes the best scale (and minimum) has a
// closed form, so a search tries a few roundings, refits each and keeps the smallest squared error. File scales are
// themselves small integers times an f16, so each group finally tries the neighbours of its rounded scale.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>

#include "tensor/formats/conversions.h"

namespace quire {

inline float largest_magnitude(std::span<const float> x) {
  return *std::max_element(x.begin(), x.end(), [](float a, float b) { return std::abs(a) < std::abs(b); });
}

// What codes can stand for: nearest(value) is the level nearest to a value.
struct IntegerLevels {
  float low;
  float high;
  float nearest(float value) const { return round_within(value, low, high); }
  float lowest() const { return low; }
  float highest() const { return high; }
};

// Squared error of x[i] ~ scale * level.
template <typename Levels>
float scaled_error(std::span<const float> x, float scale, const Levels& levels) {
  if (scale == 0) {
    float error = 0;
    for (const float value : x) error += value * value;
    return error;
  }
  const float inverse = 1 / scale;
  float error = 0;
  for (const float value : x) {
    const float difference = value - scale * levels.nearest(value * inverse);
    error += difference * difference;
  }
  return error;
}

// The scale of x[i] ~ scale * level. Tries to put the largest element on either end of the levels, stretched by up to
// `spread`, and refits. The result may be negative.
template <typename Levels>
float search_scale(std::span<const float> x, const Levels& levels, float spread) {
  constexpr int kSteps = 9;
  const float largest = largest_magnitude(x);
  if (std::abs(largest) < 1e-20f) return 0;
  float best_scale = 0;
  float best_gain = 0;  // the squared error falls by (x . l)^2 / (l . l) against all zeros
  for (const float end : {levels.lowest(), levels.highest()}) {
    for (int step = -kSteps; step <= kSteps; ++step) {
      const float inverse = end * (1 + spread * static_cast<float>(step) / kSteps) / largest;
      float xl = 0;
      float ll = 0;
      for (const float value : x) {
        const float level = levels.nearest(value * inverse);
        xl += value * level;
        ll += level * level;
      }
      if (ll > 0 && xl * xl > best_gain * ll) {
        best_gain = xl * xl / ll;
        best_scale = xl / ll;
      }
    }
  }
  return best_scale;
}

// The integer n in lowest_scale..-lowest_scale - 1 for which x[i] ~ (n * d) * level is best, near wanted / d.
template <typename Levels>
int best_integer_scale(std::span<const float> x, float wanted, float d, int lowest_scale, const Levels& levels) {
  const int highest_scale = -lowest_scale - 1;
  const auto centre =
      static_cast<int>(round_within(wanted / d, static_cast<float>(lowest_scale), static_cast<float>(highest_scale)));
  int best = centre;
  float best_error = scaled_error(x, d * static_cast<float>(centre), levels);
  for (const int scale : {centre - 1, centre + 1}) {
    if (scale < lowest_scale || scale > highest_scale) continue;
    const float error = scaled_error(x, d * static_cast<float>(scale), levels);
    if (error < best_error) {
      best_error = error;
      best = scale;
    }
  }
  return best;
}

// x[i] ~ scale * q - minimum, q in 0..max_code, scale and minimum >= 0.
struct ScaleMin {
  float scale = 0;
  float minimum = 0;
};

inline float affine_error(std::span<const float> x, ScaleMin fit, float max_code) {
  const float inverse = fit.scale > 0 ? 1 / fit.scale : 0;
  float error = 0;
  for (const float value : x) {
    const float code = round_within((value + fit.minimum) * inverse, 0, max_code);
    const float difference = value + fit.minimum - fit.scale * code;
    error += difference * difference;
  }
  return error;
}

// The least-squares fit for the codes that `fit` gives to x.
inline ScaleMin refit(std::span<const float> x, ScaleMin fit, float max_code) {
  if (!(fit.scale > 0)) return fit;
  const float inverse = 1 / fit.scale;
  float q1 = 0;
  float q2 = 0;
  float x1 = 0;
  float xq = 0;
  for (const float value : x) {
    const float code = round_within((value + fit.minimum) * inverse, 0, max_code);
    q1 += code;
    q2 += code * code;
    x1 += value;
    xq += value * code;
  }
  const auto count = static_cast<float>(x.size());
  const float determinant = count * q2 - q1 * q1;
  if (determinant > 0) {
    const ScaleMin solved = {(count * xq - x1 * q1) / determinant, (q1 * xq - q2 * x1) / determinant};
    if (solved.scale > 0 && solved.minimum >= 0) return solved;
  }
  if (q2 > 0 && xq > 0) return {xq / q2, 0};
  return fit;
}

inline ScaleMin search_scale_min(std::span<const float> x, float max_code) {
  constexpr int kSteps = 8;
  const auto [low, high] = std::minmax_element(x.begin(), x.end());
  const float minimum = std::max(0.0f, -*low);
  const float range = *high + minimum;
  if (!(range > 1e-20f)) return {0, minimum};
  ScaleMin best = {range / max_code, minimum};
  float best_error = affine_error(x, best, max_code);
  for (int step = -kSteps; step <= kSteps; ++step) {
    ScaleMin fit = {range / (max_code + static_cast<float>(step) / kSteps), minimum};
    for (int pass = 0; pass < 2; ++pass) fit = refit(x, fit, max_code);
    const float error = affine_error(x, fit, max_code);
    if (error < best_error) {
      best_error = error;
      best = fit;
    }
  }
  return best;
}

}  // namespace quire
