// The scale and the zero point of one group of weights: from its range, or by a search that clips the range where that
// makes the error smaller. Scales are rounded to f16 before anything is measured with them. Pure functions.
#pragma once

#include <cstdint>
#include <span>

#include "compress/matrices/group_matrix.h"

namespace quire {

struct ScaleZero {
  float scale = 0;  // an f16's value, >= 0; 0: every value is 0
  uint8_t zero = 0;
};

uint8_t code_of(float value, ScaleZero scale, const GroupGrid& grid);
inline float value_of(uint8_t code, ScaleZero scale) {
  return scale.scale * static_cast<float>(int{code} - int{scale.zero});
}

// The range of x spans the codes: symmetric -largest .. largest, otherwise lowest .. highest, 0 among them.
ScaleZero scale_of_range(std::span<const float> x, const GroupGrid& grid);

// The least sum of importance[i] * error[i]^2 that a search over clips of the range finds; never more than that of
// scale_of_range. importance [x.size()], >= 0.
ScaleZero search_clip(std::span<const float> x, std::span<const float> importance, const GroupGrid& grid);

// The same for error^T products error: the error of the group's share of the output, where products
// [x.size(), x.size()] is the sum of the inputs' x x^T.
ScaleZero search_clip_by_products(std::span<const float> x, std::span<const float> products, const GroupGrid& grid);

}  // namespace quire
