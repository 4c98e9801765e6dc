#include "engine/outputs/prompt_scores.h"

#include <algorithm>
#include <utility>

namespace quire {

PromptScores::PromptScores(std::shared_ptr<const GenerateRequest> request)
    : request_(std::move(request)), scores_(request_->prompt.size()) {
  scores_[0].id = request_->prompt[0];
}

// The row of position p scores the token at p + 1.
int64_t PromptScores::num_pieces(const Rows& rows) {
  first_ = std::max(num_scored_, rows.first_position + 1);
  const int64_t end = std::min(rows.first_position + rows.num_rows + 1, static_cast<int64_t>(scores_.size()));
  num_scored_ = std::max(num_scored_, end);
  return std::max<int64_t>(end - first_, 0);
}

void PromptScores::consume(const Rows& rows, int64_t piece, SamplerScratch& scratch) {
  const int64_t at = first_ + piece;
  std::optional<SampledToken> report =
      report_token(rows.logits_of(at - 1 - rows.first_position), request_->prompt[static_cast<size_t>(at)],
                   request_->num_prompt_logprobs, scratch);
  if (!report) has_bad_row_ = true;
  scores_[static_cast<size_t>(at)] = std::move(report).value_or(SampledToken{});
}

void PromptScores::publish(const Rows& rows, Update& update) {
  if (!rows.samples || scores_.empty()) return;
  if (has_bad_row_) {
    update.clear();
    update.events.emplace_back().finish = FinishReason::kError;
  } else {
    update.events.front().prompt_logprobs = std::exchange(scores_, {});
  }
}

}  // namespace quire
