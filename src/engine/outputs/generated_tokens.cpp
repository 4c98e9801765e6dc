#include "engine/outputs/generated_tokens.h"

#include <algorithm>
#include <cmath>
#include <exception>
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
  if (!wants_tokens()) return SamplingRow{};
  return request_->constraint == nullptr ? sampler_.device_sampling(num_ahead) : std::nullopt;
}

bool is_stop(const GenerateRequest& request, int32_t token) {
  return (!request.ignore_eos && std::ranges::count(request.eog_ids, token) > 0) ||
         std::ranges::count(request.stop_token_ids, token) > 0;
}

// Only a constraint throws. Its request ends.
template <typename Call>
void GeneratedTokens::end_if_it_throws(const Call& call) {
  try {
    call();
  } catch (const std::exception& error) {
    fail(error.what());
  }
}

void GeneratedTokens::fail(std::string why) {
  finish_ = FinishReason::kConstraint;
  error_ = std::move(why);
}

void GeneratedTokens::prepare(int64_t vocab_size) {
  if (wants_tokens()) end_if_it_throws([&] { find_allowed(vocab_size); });
}

// Sets the mask of the next token, or ends the choice where none can follow.
void GeneratedTokens::find_allowed(int64_t vocab_size) {
  if (request_->constraint == nullptr || !mask_.empty()) return;
  if (constraint_ == nullptr) constraint_ = request_->constraint->begin();
  if (constraint_->is_complete()) {
    finish_ = FinishReason::kStop;
    return;
  }
  mask_.resize(mask_words(vocab_size));
  constraint_->fill_mask(mask_);
  if (std::ranges::all_of(mask_, [](uint64_t word) { return word == 0; })) {
    fail("no token of the model may follow here in the form that was asked for");
  }
}

void GeneratedTokens::consume(const Rows& rows, int64_t /*piece*/, SamplerScratch& scratch) {
  tokens_.clear();
  if (!wants_tokens()) {
    finish_ = FinishReason::kLength;
  } else {
    end_if_it_throws([&] { choose_all(rows, scratch); });
  }
}

void GeneratedTokens::choose_all(const Rows& rows, SamplerScratch& scratch) {
  const int64_t first = rows.num_rows - 1 - static_cast<int64_t>(rows.drafts.size());
  const int64_t vocab_size = std::ssize(rows.logits) / rows.num_rows;
  // From the sequence's last token to the draft that it is followed by, and on from there.
  int32_t draft = -1;
  do {
    if (finish_ == FinishReason::kNone) find_allowed(vocab_size);
    if (finish_ != FinishReason::kNone) break;
    std::optional<SampledToken> token = choose(rows, first + 1 + draft, scratch);
    if (!token) {
      fail_without_token(rows, first + 1 + draft);
      break;
    }
    const int32_t id = token->id;
    tokens_.push_back(std::move(*token));
    // The row of position p predicts the token at p + 1, which makes the sequence p + 2 tokens long.
    finish_ = finish_after(id, rows.first_position + first + std::ssize(tokens_) + 1);
    draft = find_child(rows.drafts, rows.draft_parents, draft, id);
  } while (draft >= 0 && finish_ == FinishReason::kNone);
}

// Where the model's numbers are sound, what the request forbids leaves no token.
void GeneratedTokens::fail_without_token(const Rows& rows, int64_t row) {
  const bool is_sound = rows.chosen.empty() && std::isfinite(checked_maximum(rows.logits_of(row)));
  const SamplingParams& sampling = request_->sampling;
  if (is_sound && (constraint_ != nullptr || sampling.bad_words != nullptr || sampling.allowed_token_ids != nullptr)) {
    return fail("the request forbids every token that may follow here");
  }
  finish_ = FinishReason::kError;
}

// The token has made the sequence this long.
FinishReason GeneratedTokens::finish_after(int32_t id, int64_t length) {
  mask_.clear();
  if (constraint_ != nullptr) constraint_->accept(id);
  ends_with_stop_token_ = is_stop(*request_, id);
  if (ends_with_stop_token_) return FinishReason::kStop;
  if (constraint_ != nullptr && constraint_->is_complete()) return FinishReason::kStop;
  return length >= max_length_ ? FinishReason::kLength : FinishReason::kNone;
}

std::optional<SampledToken> GeneratedTokens::choose(const Rows& rows, int64_t row, SamplerScratch& scratch) {
  if (rows.chosen.empty()) {
    const std::span<const float> logits = rows.logits_of(row);
    if (const std::optional<int32_t> draft = typical_draft(rows, row, scratch)) {
      return sampler_.take(logits, *draft, scratch);
    }
    return sampler_.sample(logits, scratch, mask_);
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
    if (parent == node && sampler_.is_typical(rows.logits_of(row), draft, *rows.typical, scratch, mask_)) return draft;
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
  if (finish_ == FinishReason::kNone) return;
  // An end without a token needs its own event.
  const bool is_failure = finish_ == FinishReason::kError || finish_ == FinishReason::kConstraint;
  if (tokens_.empty() || is_failure) update.events.emplace_back();
  OutputEvent& last = update.events.back();
  last.is_stop_token = ends_with_stop_token_;
  last.finish = finish_;
  last.error = std::move(error_);
}

}  // namespace quire
