// exp, tanh and GELU of a vector.
//
// The kernels in this folder are written once, for vectors of kLanes floats, and compiled once per instruction set; the
// include path makes isa/ the folder with that set's vocabulary (avx512/isa, avx2/isa). Everything is in unnamed
// namespaces, or in the namespace of the table if another source calls it (parts.h), so that the linker cannot replace
// a function compiled for one instruction set by one compiled for another.
//
// The coefficients are weighted minimax fits (Lawson's iteration); the stated errors are those of the fit, before
// rounding.
#pragma once

#include "isa/vec.h"

namespace quire {
namespace {

// 2^(n + f), n whole in [-127, 128], f in [-1/2, 1/2]. Relative error 2e-9; exactly 1 at 0.
inline Vec exp2_of_parts(Vec n, Vec f) {
  Vec p = set1(1.5353362e-4f);
  p = fma(p, f, set1(1.3398874e-3f));
  p = fma(p, f, set1(9.6184374e-3f));
  p = fma(p, f, set1(5.5503325e-2f));
  p = fma(p, f, set1(2.4022648e-1f));
  p = fma(p, f, set1(6.9314720e-1f));
  p = fma(p, f, set1(1.0f));
  return times_power_of_2(p, n);
}

constexpr float kMinExponent = -127.0f;  // 2^x is 0 for x up to this
constexpr float kMaxExponent = 128.0f;   // 2^x is infinity for x from this on

// 2^x for x <= 0; exactly 0 at -infinity and exactly 1 at 0.
inline Vec exp2_nonpositive(Vec x) {
  const Vec zero_below = set1(kMinExponent + 1);
  const Vec clamped = max(zero_below, x);
  const Vec n = round_nearest(clamped);
  return select(less(x, zero_below), set1(0.0f), exp2_of_parts(n, sub(clamped, n)));
}

// e^x. log2(e) in two parts keeps the fraction exact to float precision for large |x|.
inline Vec exp(Vec x) {
  const Vec log2e = set1(1.44269502f);
  const Vec log2e_rest = set1(1.92596299e-8f);
  const Vec bounded = min(set1(88.8f), max(set1(-88.1f), x));
  const Vec n = round_nearest(mul(bounded, log2e));
  return exp2_of_parts(n, fma(bounded, log2e_rest, fma(bounded, log2e, sub(set1(0.0f), n))));
}

inline Vec tanh(Vec x) {
  const Vec magnitude = abs(x);
  const Vec square = mul(x, x);
  Vec p = set1(-5.6662173e-3f);  // x + x^3 P(x^2) below 0.63: relative error 5e-9
  p = fma(p, square, set1(2.0605513e-2f));
  p = fma(p, square, set1(-5.3729810e-2f));
  p = fma(p, square, set1(1.3331329e-1f));
  p = fma(p, square, set1(-3.3333278e-1f));
  const Vec near = fma(mul(p, square), x, x);
  const Vec far = sub(set1(1.0f), div(set1(2.0f), add(exp(add(magnitude, magnitude)), set1(1.0f))));
  return select(less(magnitude, set1(0.625f)), near, with_sign_of(far, x));
}

// erfc(a) for a >= 0 as e^P(a): absolute error 2e-8; from 4 on (1.5e-8) zero.
inline Vec erfc_nonnegative(Vec a) {
  Vec p = set1(-3.1440184e-5f);
  p = fma(p, a, set1(3.0880237e-4f));
  p = fma(p, a, set1(-1.0324023e-3f));
  p = fma(p, a, set1(-5.3693229e-4f));
  p = fma(p, a, set1(1.9583959e-2f));
  p = fma(p, a, set1(-1.0291961e-1f));
  p = fma(p, a, set1(-6.3659773e-1f));
  p = fma(p, a, set1(-1.1283803f));
  return select(less(a, set1(4.0f)), exp(mul(p, a)), set1(0.0f));
}

inline Vec silu(Vec x) { return div(x, add(set1(1.0f), exp(sub(set1(0.0f), x)))); }

inline Vec gelu_tanh(Vec x) {
  const Vec cubic = fma(mul(mul(x, x), x), set1(0.044715f), x);
  const Vec half = mul(set1(0.5f), x);
  return fma(half, tanh(mul(set1(0.79788456f), cubic)), half);
}

// x / 2 * (1 + erf(x / sqrt 2)), computed as x - x / 2 * erfc(|x| / sqrt 2) for x > 0 and x / 2 * erfc(|x| / sqrt 2)
// otherwise.
inline Vec gelu(Vec x) {
  const Vec tail = mul(mul(set1(0.5f), x), erfc_nonnegative(mul(abs(x), set1(0.70710678f))));
  return select(less(x, set1(0.0f)), tail, sub(x, tail));
}

}  // namespace
}  // namespace quire
