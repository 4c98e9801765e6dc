#include "decoding/mirostat.h"

#include <algorithm>
#include <cmath>

namespace quire {

int32_t Mirostat::draw(LazyOrder& order, size_t count, double mass, size_t vocab_size, double random) {
  const size_t kept =
      params_.version == 1 ? count_by_rank(order, count, vocab_size) : count_by_surprise(order, count, mass);
  double kept_mass = 0.0;
  for (size_t i = 0; i < kept; ++i) kept_mass += order.at(i).probability;
  double target = random * kept_mass;
  size_t chosen = 0;
  for (; chosen + 1 < kept; ++chosen) {
    target -= order.at(chosen).probability;
    if (target < 0.0) break;
  }
  const double surprise = -std::log2(order.at(chosen).probability / kept_mass);
  mu_ -= params_.eta * (surprise - params_.tau);
  return order.at(chosen).id;
}

// Version 1: as many as have that surprise if probabilities fall as a power of the rank, by Zipf's law. Its exponent is
// estimated from the likeliest tokens.
size_t Mirostat::count_by_rank(LazyOrder& order, size_t count, size_t vocab_size) const {
  constexpr size_t kEstimatedFrom = 100;
  double of_both = 0.0;
  double of_ranks = 0.0;
  for (size_t i = 0; i + 1 < std::min(count, kEstimatedFrom); ++i) {
    const double rank = std::log(static_cast<double>(i + 2) / static_cast<double>(i + 1));
    of_both += rank * (std::log(order.at(i).probability) - std::log(order.at(i + 1).probability));
    of_ranks += rank * rank;
  }
  if (of_ranks == 0.0) return 1;
  const double exponent = of_both / of_ranks;
  const double excess = exponent - 1.0;
  const auto size = static_cast<double>(vocab_size);
  const double scale = excess == 0.0 ? 1.0 / std::log(size) : excess / (1.0 - std::pow(size, -excess));
  const double wanted = std::pow(scale * std::exp2(mu_), 1.0 / exponent);
  if (!(wanted > 1.0)) return 1;
  return wanted < static_cast<double>(count) ? static_cast<size_t>(wanted) : count;
}

// Version 2: the tokens of no more surprise than mu.
size_t Mirostat::count_by_surprise(LazyOrder& order, size_t count, double mass) const {
  size_t kept = 1;
  while (kept < count && -std::log2(order.at(kept).probability / mass) <= mu_) ++kept;
  return kept;
}

}  // namespace quire
