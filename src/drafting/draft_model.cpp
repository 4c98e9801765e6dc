#include "drafting/draft_model.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace quire {

DraftModel::DraftModel(std::unique_ptr<ModelRunner> runner, DraftVocabulary vocabulary, float min_probability)
    : runner_(std::move(runner)),
      chooser_(std::move(vocabulary), min_probability, runner_->num_host_threads()),
      sequences_(runner_->options().num_blocks) {
  CHECK(runner_->options().keep_all_positions && runner_->info().has_head);
}

void DraftModel::propose(std::span<DraftRequest> requests) {
  sequences_.begin_turn();
  std::vector<DraftRequest*> wanting;
  for (DraftRequest& request : requests) {
    if (max_drafts_of(request) >= std::max(1, request.min_drafts)) wanting.push_back(&request);
  }
  const auto most = static_cast<size_t>(runner_->options().max_sequences);
  for (size_t first = 0; first < wanting.size(); first += most) {
    propose_together(std::span(wanting).subspan(first, std::min(most, wanting.size() - first)));
  }
}

void DraftModel::finish(uint64_t sequence, std::span<const int32_t> /*tokens*/, int64_t /*num_prompt_tokens*/,
                        std::string_view /*salt*/) {
  sequences_.drop(sequence);
}

// The last draft is not computed, so it may stand at the first position beyond the context.
int DraftModel::max_drafts_of(const DraftRequest& request) const {
  const int64_t room = runner_->options().max_context + 1 - static_cast<int64_t>(request.tokens.size());
  return static_cast<int>(std::clamp<int64_t>(room, 0, request.max_drafts));
}

void DraftModel::propose_together(std::span<DraftRequest*> requests) {
  drafting_.clear();
  catch_up(requests);
  if (batch_.token_ids.empty()) return;
  choose(runner_->run(batch_));
  while (step()) choose(runner_->run(batch_));
  for (Drafting& drafting : drafting_) {
    Drafts& drafts = *drafting.request->drafts;
    if (static_cast<int>(drafts.size()) < drafting.request->min_drafts) drafts.clear();
  }
}

void DraftModel::catch_up(std::span<DraftRequest*> requests) {
  batch_.clear();
  struct Missing {
    DraftRequest* request;
    DraftSequence* sequence;
    int64_t count;
  };
  std::vector<Missing> missing;
  for (DraftRequest* request : requests) {
    DraftSequence& sequence = sequences_.use(request->sequence);
    sequence.roll_back(request->tokens);
    const auto length = static_cast<int64_t>(request->tokens.size());
    if (!sequence.is_long && runner_->info().is_long(length + request->max_drafts)) {
      sequence.is_long = true;
      sequence.num_computed = 0;
    }
    missing.push_back({request, &sequence, length - sequence.num_computed});
  }
  // A long prompt waits for those that need a token or two.
  std::ranges::stable_sort(missing, {}, &Missing::count);
  int64_t left = runner_->options().max_batch_tokens;
  for (const auto& [request, sequence, count] : missing) {
    const int max_drafts = max_drafts_of(*request);
    const int64_t now = std::min(count, left);
    const bool is_last = now == count;
    const int64_t end = sequence->num_computed + now + (is_last ? max_drafts - 1 : 0);
    if (now == 0 || !sequences_.reserve(*sequence, end)) continue;
    left -= now;
    append_tokens(*request, *sequence, now);
    if (!is_last) continue;
    batch_.logit_rows.push_back(static_cast<int32_t>(batch_.token_ids.size()) - 1);
    CHECK(request->sampler != nullptr);
    drafting_.push_back(
        {.request = request, .sequence = sequence, .sampler = *request->sampler, .max_drafts = max_drafts});
  }
}

void DraftModel::append_tokens(const DraftRequest& request, DraftSequence& sequence, int64_t count) {
  const auto tokens = request.tokens.subspan(static_cast<size_t>(sequence.num_computed), static_cast<size_t>(count));
  for (const int32_t token : tokens) batch_.token_ids.push_back(chooser_.vocabulary().to_draft(token));
  batch_.sequences.push_back({.num_tokens = count,
                              .first_position = sequence.num_computed,
                              .block_tables = {&sequence.blocks, 1},
                              .is_long = sequence.is_long});
  sequence.num_computed += count;
}

void DraftModel::choose(std::span<const float> logits) {
  const auto vocab_size = static_cast<size_t>(runner_->info().vocab_size);
  std::vector<Drafting*> choosing;
  for (Drafting& drafting : drafting_) {
    if (drafting.goes_on) choosing.push_back(&drafting);
  }
  CHECK(logits.size() == choosing.size() * vocab_size);
  runner_->parallel_for(static_cast<int64_t>(choosing.size()), [&](int64_t i, int thread) {
    const auto row = static_cast<size_t>(i);
    Drafting& drafting = *choosing[row];
    const std::optional<int32_t> token =
        chooser_.draw(drafting.sampler, logits.subspan(row * vocab_size, vocab_size), thread);
    std::vector<int32_t>& drafts = drafting.request->drafts->tokens;
    if (token) drafts.push_back(*token);
    drafting.goes_on = token && static_cast<int>(drafts.size()) < drafting.max_drafts;
  });
}

bool DraftModel::step() {
  batch_.clear();
  for (Drafting& drafting : drafting_) {
    if (!drafting.goes_on) continue;
    DraftSequence& sequence = *drafting.sequence;
    const int32_t guess = drafting.request->drafts->tokens.back();
    batch_.logit_rows.push_back(static_cast<int32_t>(batch_.token_ids.size()));
    batch_.token_ids.push_back(chooser_.vocabulary().to_draft(guess));
    batch_.sequences.push_back({.num_tokens = 1,
                                .first_position = sequence.num_computed + static_cast<int64_t>(sequence.guesses.size()),
                                .block_tables = {&sequence.blocks, 1},
                                .is_long = sequence.is_long});
    sequence.guesses.push_back(guess);
  }
  return !batch_.token_ids.empty();
}

}  // namespace quire
