#include "engine/outputs/generated_tokens.h"

#include <algorithm>
#include <utility>

#include "drafting/drafts.h"

namespace quire {
namespace {

// The choices of one request have different seeds, even when the request sets one.
SamplingParams with_seed(SamplingParams params, uint64_t seed) {
  params.seed = seed;
  return params;
}

}  // namespace

GeneratedTokens::GeneratedTokens(std::shared_ptr<const GenerateRequest> request, uint64_t seed, int64_t max_length)
    : request_(std::move(request)),
      max_length_(max_length),
      sampler_(with_seed(request_->sampling, seed), seed, request_->prompt, request_->eog_ids) {}

std::optional<SamplingRow> GeneratedTokens::device_sampling(int64_t num_ahead) const {
  return wants_tokens() ? sampler_.device_sampling(num_ahead) : SamplingRow{};
}

bool GeneratedTokens::is_stop(int32_t token) const {
  return (!request_->ignore_eos && std::ranges::count(request_->eog_ids, token) > 0) ||
         std::ranges::count(request_->stop_token_ids, token) > 0;
}

void GeneratedTokens::consume(const Rows& rows, int64_t /*piece*/, SamplerScratch& scratch) {
  tokens_.clear();
  if (!wants_tokens()) {
    finish_ = FinishReason::kLength;
    return;
  }
  const int64_t first = rows.num_rows - 1 - static_cast<int64_t>(rows.drafts.size());
  // From the sequence's last token to the draft that it is followed by, and on from there.
  int32_t draft = -1;
  do {
    std::optional<SampledToken> token = choose(rows, first + 1 + draft, scratch);
    if (!token) {
      finish_ = FinishReason::kError;
      break;
    }
    const int32_t id = token->id;
    tokens_.push_back(std::move(*token));
    // The row of position p predicts the token at p + 1, which makes the sequence p + 2 tokens long.
    const int64_t length = rows.first_position + first + static_cast<int64_t>(tokens_.size()) + 1;
    if (is_stop(id)) {
      finish_ = FinishReason::kStop;
    } else if (length >= max_length_) {
      finish_ = FinishReason::kLength;
    }
    draft = find_child(rows.drafts, rows.draft_parents, draft, id);
  } while (draft >= 0 && finish_ == FinishReason::kNone);
}

std::optional<SampledToken> GeneratedTokens::choose(const Rows& rows, int64_t row, SamplerScratch& scratch) {
  if (rows.chosen.empty()) {
    const std::span<const float> logits = rows.logits_of(row);
    if (const std::optional<int32_t> draft = typical_draft(rows, row, scratch)) {
      return sampler_.take(logits, *draft, scratch);
    }
    return sampler_.sample(logits, scratch);
  }
  const int32_t id = rows.chosen[static_cast<size_t>(row)];
  if (id < 0) return std::nullopt;
  sampler_.accept(id);
  return SampledToken{.id = id, .top = {}};
}

// The likeliest draft after the row that is typical of its distribution, where that is the rule.
std::optional<int32_t> GeneratedTokens::typical_draft(const Rows& rows, int64_t row, SamplerScratch& scratch) const {
  const auto num_drafts = std::ssize(rows.drafts);
  const int64_t node = row - (rows.num_rows - num_drafts);  // -1: the root
  if (rows.typical == nullptr) return std::nullopt;
  for (int64_t i = node + 1; i < num_drafts; ++i) {
    const int64_t parent = rows.draft_parents.empty() ? i - 1 : rows.draft_parents[static_cast<size_t>(i)];
    const int32_t draft = rows.drafts[static_cast<size_t>(i)];
    if (parent == node && sampler_.is_typical(rows.logits_of(row), draft, *rows.typical, scratch)) return draft;
  }
  return std::nullopt;
}

void GeneratedTokens::publish(const Rows& rows, Update& update) {
  if (!rows.samples) return;
  for (SampledToken& token : tokens_) {
    update.tokens.push_back(token.id);
    OutputEvent& event = update.events.emplace_back();
    event.has_token = true;
    event.is_accepted_draft = update.tokens.size() < tokens_.size();
    event.token = std::move(token);
  }
  // An end without a token needs its own event.
  const bool has_last_token = !tokens_.empty() && finish_ != FinishReason::kError;
  if (finish_ != FinishReason::kNone && !has_last_token) update.events.emplace_back();
  if (finish_ == FinishReason::kStop) update.events.back().is_stop_token = true;
  if (finish_ != FinishReason::kNone) update.events.back().finish = finish_;
}

}  // namespace quire
