#include "engine/outputs/embedding.h"

#include <cmath>

namespace quire {

void PromptEmbedding::consume(const Rows& rows, int64_t /*piece*/, SamplerScratch& /*scratch*/) {
  for (int64_t row = 0; row < rows.num_rows; ++row) {
    // The mean sums every position once, in order; after a preemption the model computes some rows again.
    const bool is_next = rows.first_position + row == num_summed_;
    if (pooling_ == Pooling::kMean && !is_next) continue;
    if (pooling_ == Pooling::kCls && (!is_next || num_summed_ > 0)) continue;
    const std::span<const float> hidden = rows.hidden_of(row);
    sum_.resize(hidden.size());
    for (size_t d = 0; d < hidden.size(); ++d) sum_[d] += hidden[d];
    ++num_summed_;
  }
}

void PromptEmbedding::publish(const Rows& rows, Update& update) {
  if (!rows.samples) return;
  OutputEvent& event = update.events.emplace_back();
  event.finish = FinishReason::kLength;
  for (const double sum : sum_) {
    event.embedding.push_back(static_cast<float>(sum / static_cast<double>(num_summed_)));
    if (!std::isfinite(sum)) event.finish = FinishReason::kError;
  }
}

}  // namespace quire
