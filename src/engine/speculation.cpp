#include "engine/speculation.h"

#include <algorithm>
#include <exception>
#include <functional>
#include <utility>

#include "base/log.h"
#include "drafting/drafters.h"
#include "engine/draft_gains.h"

namespace quire {
namespace {

// A prediction is longer than a guess, and right for longer, and so is what a constraint is sure of.
constexpr int kMaxPredictedDrafts = 16;
constexpr float kConstraintRate = 0.98f;  // of its guesses that hold, before any was seen
// Steps that the estimate for new sequences remembers.
constexpr float kTypicalMemory = 100.0f;
// On a device that runs beside the host: after so many steps without drafts a sequence does not await its tokens for so
// many steps.
constexpr int64_t kPatience = 2;
constexpr int64_t kStepsWithoutDrafts = 32;

// The last token that a step chose is not a draft, or it is one that ends the sequence.
int64_t num_accepted_of(std::span<const int32_t> tokens) {
  return std::max<int64_t>(static_cast<int64_t>(tokens.size()) - 1, 0);
}

// One that throws gives no drafts here; the step in which it throws again ends its request.
template <typename Call>
void call_constraint(const Call& call) {
  try {
    call();
  } catch (const std::exception& error) {
    log::debug("a constraint guesses nothing: {}", error.what());
  }
}

std::unique_ptr<Drafter> drafter_or_made(std::unique_ptr<Drafter> drafter, const SpeculationOptions& options) {
  if (drafter != nullptr || options.method.empty()) return drafter;
  return make_drafter(options);
}

}  // namespace

Speculation::Speculation(SpeculationOptions options, std::unique_ptr<Drafter> drafter, Context context)
    : options_(std::move(options)),
      drafter_(drafter_or_made(std::move(drafter), options_)),
      context_(std::move(context)),
      hidden_use_(hidden_use()) {
  typical_.fill(AcceptanceEstimate(kTypicalMemory));
  typical_[kConstraint] = AcceptanceEstimate(kTypicalMemory, kConstraintRate);
}

int Speculation::max_drafts_of(const GenerateRequest& request) const {
  if (request.pooling != Pooling::kNone || request.max_tokens == 0) return 0;
  int most = drafter_ != nullptr ? options_.max_drafts : 0;
  if (!request.prediction.empty() || request.constraint) most = std::max(most, kMaxPredictedDrafts);
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
    for (size_t i = 0; i < state.acceptance.size(); ++i) state.acceptance[i] = AcceptanceEstimate::like(typical_[i]);
  }
  return &state;
}

void Speculation::add(Choice& choice) {
  choice.sequence.awaits_tokens = state_of(choice) != nullptr;
  if (choice.sequence.awaits_tokens) choice.hidden_use = hidden_use_;
}

// What the drafter reads of the target in the present step: nothing while it surely will not be asked.
HiddenUse Speculation::hidden_use() const {
  if (drafter_ == nullptr) return HiddenUse::kNone;
  const HiddenUse use = drafter_->hidden_use();
  // One that reads the states of all tokens guesses nearly as well from the last ones.
  const int64_t most_resting = use == HiddenUse::kAll ? DraftBudget::kMostResting : 0;
  return budget_.num_resting() <= most_resting ? use : HiddenUse::kNone;
}

void Speculation::ask_for_hidden(Choices& choices) {
  const HiddenUse before = std::exchange(hidden_use_, hidden_use());
  if (before == hidden_use_) return;
  for (const auto& [sequence, choice] : choices) {
    if (state_of(*choice) != nullptr) choice->hidden_use = hidden_use_;
  }
}

void Speculation::propose(Choices& choices) {
  turns_.clear();
  candidates_.clear();
  began_ms_ = context_.now_ms();
  draft_ms_ = 0.0;
  has_proposal_ = false;
  collect(choices);
  if (turns_.empty()) return;
  DraftStep step = next_step(context_.scheduler);
  const auto wants_drafter = [](const Turn& turn) { return turn.state->source == kDrafter; };
  step.is_before_drafting = options_.adaptive && std::ranges::any_of(turns_, wants_drafter) &&
                            budget_.is_before_drafting(context_.scheduler.cost(), step, options_.max_drafts);
  step.has_ready_drafts = !std::ranges::all_of(turns_, wants_drafter);
  if (step.is_before_drafting) choose_counts(step);
  ask_drafter(step.decodes.sequences);
  for (size_t i = 0; i < turns_.size(); ++i) {
    take_proposal(turns_[i], candidates_[i]);
  }
  if (options_.adaptive && !step.is_before_drafting) choose_counts(step);
  for (size_t i = 0; i < turns_.size(); ++i) {
    Drafts& drafts = turns_[i].sequence->drafts;
    keep_chosen(turns_[i], candidates_[i]);
    const bool is_enough = static_cast<int64_t>(drafts.size()) >= options_.min_drafts;
    if (turns_[i].state->source == kDrafter && !is_enough) drafts.clear();
    wait_or_not(*turns_[i].sequence, *turns_[i].state);
  }
  ask_for_hidden(choices);
}

void Speculation::collect(Choices& choices) {
  for (Sequence* sequence : context_.scheduler.running()) {
    const Choice& choice = *choices.at(sequence);
    if (State* state = state_of(choice)) collect(*sequence, choice, *state);
  }
}

void Speculation::collect(Sequence& sequence, const Choice& choice, State& state) {
  if (sequence.num_pending_tokens > 0) {
    // It has not awaited its tokens for some steps: now it does again.
    if (!sequence.awaits_tokens && ++state.num_unasked >= kStepsWithoutDrafts) sequence.awaits_tokens = true;
    return;
  }
  sequence.drafts.clear();
  if (sequence.is_prefilling() || sequence.num_choices > 1) return;
  // The last token of a sequence is never computed.
  const int64_t limit = std::min<int64_t>(state.max_drafts, sequence.max_tokens - sequence.num_tokens() - 1);
  if (limit <= 0) return;
  state.source = guess(sequence, choice, state, limit);
  const bool is_known = state.source != kDrafter;
  if (!is_known && drafter_ == nullptr) return;
  const int64_t most =
      is_known ? static_cast<int64_t>(sequence.drafts.size()) : std::min<int64_t>(limit, options_.max_drafts);
  turns_.push_back({&sequence, &choice, &state});
  candidates_.push_back({.acceptance = &state.acceptance[state.source],
                         .num_tokens = sequence.num_tokens(),
                         .most = most,
                         .num_idle = state.num_idle,
                         .count = most,
                         .gains = is_known ? std::span<const double>{} : state.gains,
                         .is_all_or_none = !is_known && drafter_->is_all_or_none()});
}

// Sets the drafts that need no drafter, if any, and says where they come from.
Speculation::Source Speculation::guess(Sequence& sequence, const Choice& choice, State& state, int64_t limit) {
  std::vector<int32_t>& drafts = sequence.drafts.tokens;
  if (TokenConstraint* const constraint = choice.constraint()) {
    call_constraint([&] { constraint->guess(static_cast<size_t>(limit), drafts); });
    if (!drafts.empty()) return kConstraint;
  }
  if (state.prediction) {
    const auto answer = std::span(sequence.tokens).subspan(static_cast<size_t>(sequence.num_prompt_tokens));
    const std::span<const int32_t> next = state.prediction->next(answer, limit);
    drafts.assign(next.begin(), next.end());
    if (!drafts.empty()) return kPrediction;
  }
  return kDrafter;
}

// The drafts that the sequence got, as the candidate that it is with them.
void Speculation::take_proposal(Turn& turn, DraftCandidate& candidate) const {
  Drafts& drafts = turn.sequence->drafts;
  State& state = *turn.state;
  keep_known(drafts);
  TokenConstraint* const constraint = turn.choice->constraint();
  if (constraint != nullptr && !drafts.empty() && state.source != kConstraint) keep_fitting(drafts, *constraint);
  // A longer proposal than was asked for is cut by keep_chosen(), a tree where it brings least.
  candidate.most = std::min(candidate.count, std::ssize(drafts.tokens));
  candidate.gains = {};
  if (drafts.is_chain()) {
    if (!drafts.empty()) state.gains.clear();
    return;
  }
  state.gains = gains_of(drafts, *candidate.acceptance);
  std::ranges::sort(state.gains, std::greater());
  candidate.gains = state.gains;
}

void Speculation::keep_chosen(Turn& turn, const DraftCandidate& candidate) {
  Drafts& drafts = turn.sequence->drafts;
  const int64_t count = std::min(candidate.count, candidate.most);
  if (drafts.is_chain()) {
    drafts.keep_first(static_cast<size_t>(count));
  } else {
    keep_likeliest(drafts, gains_of(drafts, *candidate.acceptance), count);
  }
  turn.state->drafts = drafts;
}

void Speculation::choose_counts(const DraftStep& step) { budget_.choose(context_.scheduler.cost(), step, candidates_); }

void Speculation::ask_drafter(int64_t num_sequences) {
  requests_.clear();
  int64_t depth = 0;
  for (size_t i = 0; i < turns_.size(); ++i) {
    const auto& [sequence, choice, state] = turns_[i];
    const int64_t count = candidates_[i].count;
    if (state->source != kDrafter || count == 0) continue;
    depth = std::max(depth, count);
    requests_.push_back({.sequence = sequence->id,
                         .tokens = sequence->tokens,
                         .num_prompt_tokens = sequence->num_prompt_tokens,
                         .max_drafts = static_cast<int>(count),
                         .min_drafts = options_.min_drafts,
                         .salt = state->salt,
                         .sampler = choice->sampler(),
                         .drafts = &sequence->drafts});
  }
  if (requests_.empty()) return;
  const double began = context_.now_ms();
  call_drafter([this](Drafter& drafter) { drafter.propose(requests_); });
  const bool has_failed = drafter_ == nullptr;
  for (const DraftRequest& request : requests_) {
    if (has_failed) request.drafts->clear();
    has_proposal_ = has_proposal_ || !request.drafts->empty();
  }
  draft_ms_ = context_.now_ms() - began;
  // A call without drafts computed prompts that the drafter had not seen yet: that says nothing about drafting.
  if (has_proposal_) budget_.note_drafting(num_sequences, depth, draft_ms_);
}

// A drafter that throws is not asked again: answers go on without it.
template <typename Call>
void Speculation::call_drafter(const Call& call) {
  if (drafter_ == nullptr) return;
  try {
    call(*drafter_);
  } catch (const std::exception& error) {
    log::warning("the drafter \"{}\" failed and drafts no more: {}", options_.method, error.what());
    drafter_.reset();
  }
}

// A sequence that gets no drafts need not await its tokens, so that its next step is started ahead.
void Speculation::wait_or_not(Sequence& sequence, State& state) {
  state.num_idle = sequence.drafts.empty() ? state.num_idle + 1 : 0;
  sequence.awaits_tokens = state.num_idle < kPatience;
  state.num_unasked = 0;
}

// Keeps the drafts before the first that the model does not know.
void Speculation::keep_known(Drafts& drafts) const {
  const auto is_unknown = [this](int32_t id) { return id < 0 || id >= context_.vocab_size; };
  const auto known = std::ranges::find_if(drafts.tokens, is_unknown) - drafts.tokens.begin();
  drafts.keep_first(static_cast<size_t>(known));
}

// Leaves out the drafts that the constraint forbids, and those that follow one.
void Speculation::keep_fitting(Drafts& drafts, TokenConstraint& constraint) {
  if (drafts.is_chain()) {
    size_t count = drafts.size();
    call_constraint([&] { count = constraint.count_fitting(drafts.tokens); });
    return drafts.keep_first(count);
  }
  std::vector<size_t> fitting;
  call_constraint([&] {
    for (size_t node = 0; node < drafts.size(); ++node) {
      const std::vector<int32_t> path = drafts.path_to(static_cast<int32_t>(node));
      if (constraint.count_fitting(path) == path.size()) fitting.push_back(node);
    }
  });
  drafts.keep(fitting);
}

void Speculation::settle(const StartedStep& step, const StepResults& results, StatusCounter& counter) {
  for (size_t i = 0; i < step.items.size(); ++i) {
    const StepPlan::Item& item = step.items[i];
    if (item.sequence == nullptr || item.num_drafts == 0) continue;
    const int64_t num_accepted = num_accepted_of(results.tokens[i]);
    counter.count_drafts(item.num_drafts, num_accepted);
    settle(item, reads_likeliest() ? results.likeliest[i] : std::span<const int32_t>{},
           results.tokens[i].first(static_cast<size_t>(num_accepted)));
  }
  if (!results.hidden.empty() && drafter_ != nullptr) observe(step, results);
  note_step(step, results);
}

// Steps with prompt rows or beams tell nothing: what their drafts took cannot be told from what these took.
void Speculation::note_step(const StartedStep& step, const StepResults& results) {
  if (!options_.adaptive || states_.empty()) return;
  DraftOutcome outcome;
  outcome.shape = step.shape;
  outcome.draft_ms = draft_ms_;
  outcome.has_drafts = has_proposal_;
  for (size_t i = 0; i < step.items.size(); ++i) {
    const StepPlan::Item& item = step.items[i];
    if (item.num_tokens != 1 + item.num_drafts || !item.samples) return;
    if (item.sequence != nullptr && item.sequence->is_beam) return;
    outcome.num_tokens += std::ssize(results.tokens[i]);
    ++outcome.plain.rows;
    ++outcome.plain.sequences;
    outcome.plain.attended += static_cast<double>(item.first_position + 1);
  }
  outcome.ms = context_.now_ms() - began_ms_;
  budget_.note_step(context_.scheduler.cost(), outcome);
}

void Speculation::settle(const StepPlan::Item& item, std::span<const int32_t> likeliest,
                         std::span<const int32_t> accepted) {
  State& state = states_.at(item.sequence->id);
  const int64_t num_accepted = std::ssize(accepted);
  state.drafts.keep_first(static_cast<size_t>(item.num_drafts));
  const bool is_predicted = state.source == kPrediction;
  state.counts.add({.num_verified = item.num_drafts,
                    .num_accepted = num_accepted,
                    .num_predicted = is_predicted ? item.num_drafts : 0,
                    .num_predicted_accepted = is_predicted ? num_accepted : 0});
  for (AcceptanceEstimate* estimate : {&state.acceptance[state.source], &typical_[state.source]}) {
    observe_drafts(*estimate, state.drafts, accepted);
  }
  if (state.source != kDrafter) return;
  call_drafter([&](Drafter& drafter) {
    drafter.settle({.sequence = item.sequence->id,
                    .num_verified = item.num_drafts,
                    .num_accepted = num_accepted,
                    .likeliest = likeliest});
  });
}

// Tells the drafter the hidden states of the tokens that hold. Those of a prompt that several choices share belong to
// each of them.
void Speculation::observe(const StartedStep& step, const StepResults& results) {
  hidden_rows_.clear();
  const auto add = [&](uint64_t sequence, const StepPlan::Item& item, const StepResults::HiddenStates& states,
                       int64_t num_accepted) {
    const int64_t end = item.first_position + item.num_tokens;
    const int64_t num_held = states.num_rows - item.num_drafts + num_accepted;
    if (states.num_rows == 0 || num_held == 0) return;
    const size_t width = states.values.size() / static_cast<size_t>(states.num_rows);
    // Of the last token only, where no more is read.
    const int64_t first = drafter_->hidden_use() == HiddenUse::kLast ? num_held - 1 : 0;
    const auto num_rows = num_held - first;
    hidden_rows_.push_back(
        {.sequence = sequence,
         .first_position = end - states.num_rows + first,
         .num_rows = num_rows,
         .hidden = states.values.subspan(static_cast<size_t>(first) * width, static_cast<size_t>(num_rows) * width)});
  };
  for (size_t i = 0; i < step.items.size(); ++i) {
    const StepPlan::Item& item = step.items[i];
    if (item.sequence != nullptr) add(item.sequence->id, item, results.hidden[i], num_accepted_of(results.tokens[i]));
  }
  for (const StepResults::Fork& fork : results.forks) {
    add(fork.child->id, step.items[fork.parent], results.hidden[fork.parent], 0);
  }
  if (hidden_rows_.empty()) return;
  call_drafter([this](Drafter& drafter) { drafter.observe(hidden_rows_); });
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
  call_drafter([&](Drafter& drafter) {
    drafter.finish(sequence.id, is_shared ? std::span<const int32_t>(sequence.tokens) : std::span<const int32_t>{},
                   is_shared ? sequence.num_prompt_tokens : 0, state.salt);
  });
  return state.counts;
}

}  // namespace quire
