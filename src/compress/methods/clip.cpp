#include "compress/methods/clip.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "base/check.h"
#include "compress/blocks/row_strip.h"
#include "tensor/formats/conversions.h"
#include "tensor/half.h"

namespace quire {
namespace {

constexpr float kLargestF16 = 65504;

float as_f16(float scale) { return f16_to_f32(f32_to_f16(std::min(scale, kLargestF16))); }

float highest_code(const GroupGrid& grid) { return static_cast<float>(grid.num_codes() - 1); }

// With 0 among it.
struct Range {
  float low = 0;
  float high = 0;
};

Range range_of(std::span<const float> x) {
  Range range;
  for (const float value : x) {
    range.low = std::min(range.low, value);
    range.high = std::max(range.high, value);
  }
  return range;
}

ScaleZero scale_of(Range range, const GroupGrid& grid) {
  const float steps = highest_code(grid);
  if (grid.symmetric) {
    const float largest = std::max(-range.low, range.high);
    return {as_f16(2 * largest / steps), static_cast<uint8_t>(grid.num_codes() / 2)};
  }
  const float scale = as_f16((range.high - range.low) / steps);
  return {scale, static_cast<uint8_t>(scale > 0 ? round_within(-range.low / scale, 0, steps) : 0)};
}

// Scales that are tried at once, side by side.
constexpr int kCandidates = kStripRows;
using Candidates = std::array<ScaleZero, kCandidates>;

// errors[i][c] = x[i] - its value under candidate c.
void errors_of(std::span<const float> x, const Candidates& candidates, const GroupGrid& grid,
               std::vector<float>& errors) {
  float scale[kCandidates];
  float inverse[kCandidates];
  float zero[kCandidates];
  for (size_t c = 0; c < kCandidates; ++c) {
    scale[c] = candidates[c].scale;
    inverse[c] = scale[c] > 0 ? 1 / scale[c] : 0;
    zero[c] = candidates[c].zero;
  }
  const float highest = highest_code(grid);
  errors.resize(x.size() * kCandidates);
  float* out = errors.data();
  for (const float value : x) {
    for (int c = 0; c < kCandidates; ++c) {
      const float code = round_within(value * inverse[c] + zero[c], 0, highest);
      out[c] = value - scale[c] * (code - zero[c]);
    }
    out += kCandidates;
  }
}

// How errors count: by themselves.
struct ByImportance {
  std::span<const float> importance;

  void add_up(const std::vector<float>& errors, float (&sums)[kCandidates]) const {
    std::ranges::fill(sums, 0.0f);
    const float* error = errors.data();
    for (const float weight : importance) {
      for (int c = 0; c < kCandidates; ++c) sums[c] += weight * error[c] * error[c];
      error += kCandidates;
    }
  }
  // importance (.) of a and b.
  float product(std::span<const float> a, std::span<const float> b) const {
    float sum = 0;
    for (size_t i = 0; i < a.size(); ++i) sum += importance[i] * a[i] * b[i];
    return sum;
  }
};

// And with each other.
struct ByProducts {
  std::span<const float> products;

  void add_up(const std::vector<float>& errors, float (&sums)[kCandidates]) const {
    quadratic_forms(errors, products, sums);
  }
  float product(std::span<const float> a, std::span<const float> b) const {
    float sum = 0;
    for (size_t i = 0; i < a.size(); ++i) {
      float row = 0;
      for (size_t j = 0; j < b.size(); ++j) row += products[i * a.size() + j] * b[j];
      sum += a[i] * row;
    }
    return sum;
  }
};

Candidates clips_of(Range range, const GroupGrid& grid) {
  Candidates clips;
  for (int c = 0; c < kCandidates; ++c) {
    // The range itself; a little more, so that a symmetric grid can hold its largest; and down to 0.42 of it.
    const float clip = c == 0 ? 1.0f : 1.1f - 0.045f * static_cast<float>(c);
    clips[static_cast<size_t>(c)] = scale_of({range.low * clip, range.high * clip}, grid);
  }
  return clips;
}

// `best` and scales around the one that fits its codes best, which is a quotient of products; with the zero points
// beside its own.
template <typename Measure>
Candidates neighbours_of(ScaleZero best, std::span<const float> x, const GroupGrid& grid, const Measure& measure) {
  std::vector<float> levels(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    levels[i] = static_cast<float>(int{code_of(x[i], best, grid)} - int{best.zero});
  }
  const float square = measure.product(levels, levels);
  const float fitted = square > 0 ? measure.product(x, levels) / square : 0;
  const float centre = fitted > 0 ? fitted : best.scale;
  Candidates candidates;
  candidates.fill(best);
  for (int c = 1; c < kCandidates; ++c) {
    const int zero_step = grid.symmetric ? 0 : c % 3 - 1;
    const int scale_step = grid.symmetric ? c - kCandidates / 2 : (c - 1) / 3 - 2;
    const float spread = grid.symmetric ? 0.006f : 0.012f;
    const int zero = std::clamp(best.zero + zero_step, 0, grid.num_codes() - 1);
    candidates[static_cast<size_t>(c)] = {as_f16(centre * (1 + spread * static_cast<float>(scale_step))),
                                          static_cast<uint8_t>(zero)};
  }
  return candidates;
}

template <typename Measure>
ScaleZero search(std::span<const float> x, const GroupGrid& grid, const Measure& measure, int num_rounds) {
  Candidates candidates = clips_of(range_of(x), grid);
  std::vector<float> errors;
  float sums[kCandidates];
  for (int round = 0;; ++round) {
    errors_of(x, candidates, grid, errors);
    measure.add_up(errors, sums);
    // Candidate 0 is the best so far. NaN is never less.
    int best = 0;
    for (int c = 1; c < kCandidates; ++c) {
      if (sums[c] < sums[best]) best = c;
    }
    const ScaleZero found = candidates[static_cast<size_t>(best)];
    if (round == num_rounds || (round > 0 && best == 0) || !(found.scale > 0)) return found;
    candidates = neighbours_of(found, x, grid, measure);
  }
}

}  // namespace

uint8_t code_of(float value, ScaleZero scale, const GroupGrid& grid) {
  const float inverse = scale.scale > 0 ? 1 / scale.scale : 0;
  return static_cast<uint8_t>(round_within(value * inverse + static_cast<float>(scale.zero), 0, highest_code(grid)));
}

ScaleZero scale_of_range(std::span<const float> x, const GroupGrid& grid) { return scale_of(range_of(x), grid); }

ScaleZero search_clip(std::span<const float> x, std::span<const float> importance, const GroupGrid& grid) {
  CHECK(importance.size() == x.size());
  return search(x, grid, ByImportance{importance}, 4);
}

ScaleZero search_clip_by_products(std::span<const float> x, std::span<const float> products, const GroupGrid& grid) {
  CHECK(products.size() == x.size() * x.size());
  return search(x, grid, ByProducts{products}, 2);
}

}  // namespace quire
