#include "decoding/logit_spread.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "decoding/exp_of_negative.h"

namespace quire {
namespace {

constexpr float kImpossible = -std::numeric_limits<float>::infinity();

}  // namespace

float top_n_sigma_floor(std::span<const float> logits, float top, float n) {
  double count = 0.0;
  double sum = 0.0;
  for (const float logit : logits) {
    if (logit == kImpossible) continue;
    ++count;
    sum += static_cast<double>(logit);
  }
  const double mean = sum / count;
  double squares = 0.0;
  for (const float logit : logits) {
    if (logit == kImpossible) continue;
    const double gap = static_cast<double>(logit) - mean;
    squares += gap * gap;
  }
  return static_cast<float>(
      std::max<double>(top - n * std::sqrt(squares / count), std::numeric_limits<float>::lowest()));
}

float dynamic_temperature(std::span<const float> logits, float top, float temperature, const DynamicTemperature& by) {
  double count = 0.0;
  double mass = 0.0;
  double weighted = 0.0;  // sum of probability times logarithm
  for (const float logit : logits) {
    if (logit == kImpossible) continue;
    const float log = logit - top;
    const auto probability = static_cast<double>(exp_of_negative(log));
    ++count;
    mass += probability;
    if (probability > 0.0) weighted += probability * static_cast<double>(log);
  }
  if (count < 2.0) return temperature;
  const double entropy = std::log(mass) - weighted / mass;
  const double share = std::clamp(entropy / std::log(count), 0.0, 1.0);
  const double low = std::max(0.0, static_cast<double>(temperature) - by.range);
  const double high = static_cast<double>(temperature) + by.range;
  return std::max(kMinTemperature, static_cast<float>(low + (high - low) * std::pow(share, by.exponent)));
}

}  // namespace quire
