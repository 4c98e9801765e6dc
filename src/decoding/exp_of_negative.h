// The exponential that probabilities relative to the likeliest token's are made of.
#pragma once

#include <bit>

namespace quire {

// e^x for x <= 0, to about a unit in the last place: 2^n times a polynomial on half a unit around zero (Cody and Waite,
// "Software Manual for the Elementary Functions"). Plain arithmetic, which the compiler makes vectors of. Of -infinity
// it is 0; of a NaN it is undefined.
inline float exp_of_negative(float x) {
  constexpr float kLog2E = 1.44269504f;
  constexpr float kLn2High = 0.693145752f;
  constexpr float kLn2Low = 1.42860677e-6f;
  const float bounded = x < -87.0f ? -87.0f : x;
  const int n = static_cast<int>(bounded * kLog2E - 0.5f);  // rounds to nearest, for what is not positive
  const float r = (bounded - static_cast<float>(n) * kLn2High) - static_cast<float>(n) * kLn2Low;
  const float p =
      1.0f +
      r * (1.0f + r * (0.5f + r * (0.166666671f + r * (0.0416666716f + r * (0.00833333377f + r * 0.00138888892f)))));
  return x < -87.0f ? 0.0f : p * std::bit_cast<float>((n + 127) << 23);
}

}  // namespace quire
