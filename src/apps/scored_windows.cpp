#include "apps/scored_windows.h"

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

ScoredWindow::ScoredWindow(const ModelInfo& info, int64_t window, int64_t max_batch_tokens)
    : is_long_(info.is_long(window)), window_(window), step_(max_batch_tokens) {
  blocks_.resize(static_cast<size_t>((window + kKvBlockSize - 1) / kKvBlockSize));
  std::iota(blocks_.begin(), blocks_.end(), 0);
}

void ScoredWindow::make_batch(std::span<const int32_t> ids, int64_t first) {
  const int64_t count = std::min(step_, window_ - 1 - first);
  batch_.clear();
  const auto part = ids.subspan(static_cast<size_t>(first), static_cast<size_t>(count));
  batch_.token_ids.assign(part.begin(), part.end());
  batch_.sequences.push_back(
      {.num_tokens = count, .first_position = first, .block_tables = {&blocks_, 1}, .is_long = is_long_});
  for (int64_t row = std::max<int64_t>(0, window_ / 2 - first); row < count; ++row) {
    batch_.logit_rows.push_back(static_cast<int32_t>(row));
  }
}

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

}  // namespace quire
