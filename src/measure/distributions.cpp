#include "measure/distributions.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/check.h"

namespace quire {
namespace {

// The logarithm of the sum of exp(logit), so that probabilities are exp(logit - this).
double log_sum(std::span<const float> logits) {
  const double largest = *std::ranges::max_element(logits);
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - largest);
  return largest + std::log(sum);
}

}  // namespace

double surprise(std::span<const float> logits, int32_t id) {
  return log_sum(logits) - static_cast<double>(logits[static_cast<size_t>(id)]);
}

double divergence(std::span<const float> logits, std::span<const float> other) {
  DCHECK(logits.size() == other.size());
  const double sum = log_sum(logits);
  const double other_sum = log_sum(other);
  double nats = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    const double log_probability = static_cast<double>(logits[i]) - sum;
    nats += std::exp(log_probability) * (log_probability - (static_cast<double>(other[i]) - other_sum));
  }
  return nats;
}

void Score::add(double surprise) {
  sum += surprise;
  squares += surprise * surprise;
  ++count;
}

double Score::perplexity() const { return std::exp(mean()); }

double Score::error() const {
  const double variance = squares / static_cast<double>(count) - mean() * mean();
  return count < 2 ? 0.0 : perplexity() * std::sqrt(std::max(0.0, variance) / static_cast<double>(count - 1));
}

Distance::Row Distance::measure(std::span<const float> logits, std::span<const float> other) {
  const auto likeliest = [](std::span<const float> row) { return std::ranges::max_element(row) - row.begin(); };
  return {.divergence = quire::divergence(logits, other), .same_choice = likeliest(logits) == likeliest(other)};
}

void Distance::add(const Row& row) {
  divergences_.push_back(row.divergence);
  if (row.same_choice) ++same_choices_;
}

double Distance::mean() const {
  return std::accumulate(divergences_.begin(), divergences_.end(), 0.0) / static_cast<double>(count());
}

double Distance::error() const {
  if (count() < 2) return 0;
  const double middle = mean();
  double squares = 0;
  for (const double value : divergences_) squares += (value - middle) * (value - middle);
  return std::sqrt(squares / static_cast<double>(count()) / static_cast<double>(count() - 1));
}

double Distance::largest() const { return *std::ranges::max_element(divergences_); }

double Distance::quantile(double share) const {
  std::vector<double> sorted = divergences_;
  std::ranges::sort(sorted);
  const double place = share * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(place);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (place - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

double Distance::share_alike() const { return static_cast<double>(same_choices_) / static_cast<double>(count()); }

}  // namespace quire
