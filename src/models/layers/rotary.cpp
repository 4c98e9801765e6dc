#include "models/layers/rotary.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/check.h"

namespace quire {
namespace {

// theta ^ (2i / dim), as Hugging Face computes it in float32.
float wave(double theta, int index, int dim) {
  return std::pow(static_cast<float>(theta), static_cast<float>(2 * index) / static_cast<float>(dim));
}

double dynamic_theta(const RopeSettings& s, int64_t length) {
  const double dim = s.dim;
  const double growth = s.factor * static_cast<double>(length) / static_cast<double>(s.max_positions) - (s.factor - 1);
  return s.theta * std::pow(growth, dim / (dim - 2));
}

float llama3_frequency(const RopeSettings& s, float frequency) {
  const auto context = static_cast<double>(s.original_max_positions);
  const float wavelength = static_cast<float>(2 * std::numbers::pi) / frequency;
  if (wavelength < static_cast<float>(context / s.high_freq_factor)) return frequency;
  const auto factor = static_cast<float>(s.factor);
  if (wavelength > static_cast<float>(context / s.low_freq_factor)) return frequency / factor;
  const float smooth = (static_cast<float>(context) / wavelength - static_cast<float>(s.low_freq_factor)) /
                       static_cast<float>(s.high_freq_factor - s.low_freq_factor);
  return (1 - smooth) * frequency / factor + smooth * frequency;
}

// The dimension whose wave turns `rotations` times over the original context.
double yarn_dimension(const RopeSettings& s, double rotations) {
  const auto context = static_cast<double>(s.original_max_positions);
  return s.dim * std::log(context / (rotations * 2 * std::numbers::pi)) / (2 * std::log(s.theta));
}

void yarn_frequencies(const RopeSettings& s, std::vector<float>& frequencies) {
  double low = yarn_dimension(s, s.beta_fast);
  double high = yarn_dimension(s, s.beta_slow);
  if (s.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(s.dim - 1));
  if (low == high) high += 0.001;
  for (int i = 0; i < s.dim / 2; ++i) {
    const float ramp = (static_cast<float>(i) - static_cast<float>(low)) / static_cast<float>(high - low);
    const float keep = 1 - std::clamp(ramp, 0.0f, 1.0f);
    const float plain = wave(s.theta, i, s.dim);
    const float stretched = 1.0f / (static_cast<float>(s.factor) * plain);
    frequencies[static_cast<size_t>(i)] = stretched * (1 - keep) + 1.0f / plain * keep;
  }
}

}  // namespace

std::vector<float> rope_frequencies(const RopeSettings& s, int64_t length) {
  std::vector<float> frequencies(static_cast<size_t>(s.dim / 2));
  if (s.scaling == RopeScaling::kYarn) {
    yarn_frequencies(s, frequencies);
    return frequencies;
  }
  const bool grown = s.scaling == RopeScaling::kDynamic && length > s.max_positions;
  const double theta = grown ? dynamic_theta(s, length) : s.theta;
  const bool is_long = length > s.original_max_positions;
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const float plain = wave(theta, static_cast<int>(i), s.dim);
    float& frequency = frequencies[i];
    switch (s.scaling) {
      case RopeScaling::kLinear: frequency = 1.0f / plain / static_cast<float>(s.factor); break;
      case RopeScaling::kLlama3: frequency = llama3_frequency(s, 1.0f / plain); break;
      case RopeScaling::kLongRope: frequency = 1.0f / ((is_long ? s.long_factors : s.short_factors)[i] * plain); break;
      default: frequency = 1.0f / plain; break;
    }
  }
  return frequencies;
}

Rotary::Rotary(const RopeSettings& settings)
    : settings_(settings),
      frequencies_(rope_frequencies(settings, 0)),
      long_frequencies_(rope_frequencies(settings, settings.original_max_positions + 1)) {}

void Rotary::remember(int64_t num_positions) {
  for (const bool is_long : {false, true}) {
    if (is_long && settings_.scaling != RopeScaling::kLongRope) continue;
    std::vector<float>& rows = remembered_[is_long ? 1 : 0];
    rows.resize(static_cast<size_t>(num_positions * settings_.dim));
    for (int64_t at = 0; at < num_positions; ++at) compute_row(at, is_long, rows.data() + at * settings_.dim);
  }
}

void Rotary::fill(const Step& step, float* cos_sin) const {
  const int64_t per_tile = remembered_[0].empty() ? 8 : 256;
  for_rows(step.exec, step.num_rows, per_tile,
           [&](int64_t row) { fill_row(step.positions[row], step.is_long[row] != 0, cos_sin + row * settings_.dim); });
}

void Rotary::fill_row(int64_t position, bool is_long, float* cos_sin) const {
  is_long = is_long && settings_.scaling == RopeScaling::kLongRope;
  const std::vector<float>& known = remembered_[is_long ? 1 : 0];
  const int64_t first = position * settings_.dim;
  if (first >= static_cast<int64_t>(known.size())) return compute_row(position, is_long, cos_sin);
  std::copy_n(known.data() + first, settings_.dim, cos_sin);
}

void Rotary::compute_row(int64_t position, bool is_long, float* cos_sin) const {
  const int half = half_dim();
  // Every token uses the base for the length at which it was the newest token, as Hugging Face does when it generates
  // token by token.
  const bool grown = settings_.scaling == RopeScaling::kDynamic && position >= settings_.max_positions;
  const auto theta = grown ? dynamic_theta(settings_, position + 1) : 0.0;
  const std::vector<float>& frequencies = is_long ? long_frequencies_ : frequencies_;
  for (int i = 0; i < half; ++i) {
    const float frequency = grown ? 1.0f / wave(theta, i, settings_.dim) : frequencies[static_cast<size_t>(i)];
    const float angle = static_cast<float>(position) * frequency;
    cos_sin[i] = std::cos(angle) * settings_.attention_factor;
    cos_sin[half + i] = std::sin(angle) * settings_.attention_factor;
  }
}

}  // namespace quire
