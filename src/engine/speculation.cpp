#include "engine/speculation.h"

#include <algorithm>
#include <utility>

#include "drafting/drafters.h"

namespace quire {
namespace {

// A prediction is longer than a guess, and right for longer.
constexpr int kMaxPredictedDrafts = 16;

std::unique_ptr<Drafter> drafter_or_made(std::unique_ptr<Drafter> drafter, const SpeculationOptions& options) {
  if (drafter != nullptr || options.method.empty()) return drafter;
  return make_drafter(options);
}

}  // namespace

Speculation::Speculation(SpeculationOptions options, std::unique_ptr<Drafter> drafter, const Scheduler& scheduler,
                         int64_t vocab_size)
    : options_(std::move(options)),
      drafter_(drafter_or_made(std::move(drafter), options_)),
      scheduler_(scheduler),
      vocab_size_(vocab_size) {}

int Speculation::max_drafts_of(const GenerateRequest& request) const {
  if (request.pooling != Pooling::kNone || request.max_tokens == 0) return 0;
  int most = drafter_ != nullptr ? options_.max_drafts : 0;
  if (!request.prediction.empty()) most = std::max(most, kMaxPredictedDrafts);
  return request.max_drafts < 0 ? most : std::min(most, request.max_drafts);
}

// Null when the choice does not speculate.
Speculation::State* Speculation::state_of(const Choice& choice) {
  const GenerateRequest& request = *choice.request;
  const int max_drafts = max_drafts_of(request);
  if (max_drafts == 0) return nullptr;
  const auto [found, is_new] = states_.try_emplace(choice.sequence.id);
  State& state = found->second;
  if (is_new) {
    state.max_drafts = max_drafts;
    if (!request.prediction.empty()) state.prediction.emplace(request.prediction);
    state.salt = request.cache_salt;
    // A salt that no other sequence has.
    if (!request.shares_cache) state.salt += '\0' + std::to_string(choice.sequence.id);
  }
  return &state;
}

void Speculation::add(Choice& choice) { choice.sequence.awaits_tokens = state_of(choice) != nullptr; }

bool Speculation::may_have_drafts(const Sequence& sequence) const {
  return sequence.num_pending_tokens == 0 && !sequence.is_prefilling() && sequence.num_uncomputed_tokens() == 1 &&
         sequence.num_choices == 1;
}

// The most drafts that the sequence may have now.
int64_t Speculation::limit_of(const Sequence& sequence, const State& state) const {
  // The last token of a sequence is never computed.
  const int64_t limit = std::min<int64_t>(state.max_drafts, sequence.max_tokens - sequence.num_tokens() - 1);
  if (!options_.adaptive) return limit;
  const int64_t share = CostModel::kFlatRows / std::max<int64_t>(1, scheduler_.num_running());
  return std::min(limit, share - 1);
}

void Speculation::propose(Choices& choices) {
  requests_.clear();
  for (Sequence* sequence : scheduler_.running()) {
    if (!may_have_drafts(*sequence)) continue;
    sequence->drafts.clear();
    const Choice& choice = *choices.at(sequence);
    State* state = state_of(choice);
    if (state == nullptr) continue;
    const int64_t limit = limit_of(*sequence, *state);
    if (limit <= 0) continue;
    state->is_drafters = false;
    if (state->prediction) take_prediction(*sequence, *state, limit);
    if (drafter_ == nullptr || !sequence->drafts.empty()) continue;
    state->is_drafters = true;
    requests_.push_back({.sequence = sequence->id,
                         .tokens = sequence->tokens,
                         .num_prompt_tokens = sequence->num_prompt_tokens,
                         .max_drafts = static_cast<int>(limit),
                         .min_drafts = options_.min_drafts,
                         .salt = state->salt,
                         .prediction = choice.request->prediction,
                         .sampler = choice.sampler(),
                         .drafts = &sequence->drafts});
  }
  ask_drafter();
}

void Speculation::take_prediction(Sequence& sequence, State& state, int64_t limit) const {
  const auto answer = std::span(sequence.tokens).subspan(static_cast<size_t>(sequence.num_prompt_tokens));
  const std::span<const int32_t> next = state.prediction->next(answer, limit);
  sequence.drafts.tokens.assign(next.begin(), next.end());
}

void Speculation::ask_drafter() {
  if (requests_.empty()) return;
  drafter_->propose(requests_);
  for (const DraftRequest& request : requests_) cut(*request.drafts, request.max_drafts);
}

// Keeps the drafts before the first that the model does not know, and `limit` at most. The first nodes of a tree are a
// tree.
void Speculation::cut(Drafts& drafts, int64_t limit) const {
  const auto is_unknown = [this](int32_t id) { return id < 0 || id >= vocab_size_; };
  const auto known = std::ranges::find_if(drafts.tokens, is_unknown) - drafts.tokens.begin();
  const auto count = static_cast<size_t>(std::min<int64_t>(known, limit));
  drafts.tokens.resize(count);
  if (!drafts.is_chain()) drafts.parents.resize(count);
}

void Speculation::settle(const StartedStep& step, const StepResults& results, StatusCounter& counter) {
  for (size_t i = 0; i < step.items.size(); ++i) {
    const StepPlan::Item& item = step.items[i];
    if (item.sequence == nullptr || item.num_drafts == 0) continue;
    // The last token is not a draft, or it is one that ends the sequence.
    const int64_t num_accepted = std::max<int64_t>(static_cast<int64_t>(results.tokens[i].size()) - 1, 0);
    State& state = states_.at(item.sequence->id);
    state.counts.num_verified += item.num_drafts;
    state.counts.num_accepted += num_accepted;
    counter.count_drafts(item.num_drafts, num_accepted);
    if (!state.is_drafters) continue;
    drafter_->settle({.sequence = item.sequence->id, .num_verified = item.num_drafts, .num_accepted = num_accepted});
  }
}

DraftCounts Speculation::finish(const Choice& choice) {
  const auto found = states_.find(choice.sequence.id);
  if (found == states_.end()) return {};
  const State state = std::move(found->second);
  states_.erase(found);
  if (drafter_ == nullptr) return state.counts;
  // Nothing is remembered of a sequence that shares nothing.
  const Sequence& sequence = choice.sequence;
  const bool is_shared = sequence.shares_cache;
  drafter_->finish(sequence.id, is_shared ? std::span<const int32_t>(sequence.tokens) : std::span<const int32_t>{},
                   is_shared ? sequence.num_prompt_tokens : 0, state.salt);
  return state.counts;
}

}  // namespace quire
