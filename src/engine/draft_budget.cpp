#include "engine/draft_budget.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <optional>
#include <queue>
#include <tuple>
#include <utility>

#include "engine/scheduler.h"

namespace quire {
namespace {

// A gain below this is lost in the error of the predictions.
constexpr double kMinGain = 1.01;
// Drafting that takes less than this share of a step counts as nothing.
constexpr double kNoTime = 0.01;
// The share of the time that probes may take, and how much of it, in plain steps, is kept for later.
constexpr double kProbeShare = 0.006;
constexpr double kMostProbeSteps = 16.0;
// What a probe that would not pay counts for: it only finds out whether the drafter has become faster.
constexpr double kHopelessPrice = 8.0;
// Most probes are a single draft, and some two, four or eight: what is far is seldom learned of otherwise.
constexpr int64_t kFarProbeEvery = 8;
constexpr int64_t kFarProbeSizes = 3;
// A draft less probable than this is not looked at.
constexpr double kMinProbability = 0.01;
constexpr double kMinMs = 1e-3;
constexpr int64_t kPlainStepEvery = 256;
// When nothing is known of the drafter, the first call must not be a long one.
constexpr int64_t kFirstDepth = 2;
constexpr int64_t kMostHopelessResting = 256;

// Until steps were observed: a step of up to 8 rows costs little more than one of a single row.
const CostModel& unknown_machine() {
  static const CostModel model({1.0, 0.02, 0.02, 0.3, 0.3, 0.3, 0.0, 0.0});
  return model;
}

StepShape sum_of(const StepShape& a, const StepShape& b) {
  return {a.rows + b.rows, a.sequences + b.sequences, a.attended + b.attended};
}

// The first of the drafts follows `num_tokens` tokens.
void add_drafts(StepShape& shape, int64_t num_tokens, int64_t num_drafts) {
  shape.rows += num_drafts;
  shape.sequences += num_drafts;
  for (int64_t i = 1; i <= num_drafts; ++i) shape.attended += static_cast<double>(num_tokens + i);
}

}  // namespace

AcceptanceEstimate AcceptanceEstimate::like(const AcceptanceEstimate& others) {
  AcceptanceEstimate estimate;
  for (size_t i = 0; i < estimate.positions_.size(); ++i) estimate.positions_[i].rate = others.positions_[i].rate;
  return estimate;
}

void AcceptanceEstimate::observe_at(int64_t position, bool holds) {
  if (position >= kPositions) return;
  Position& at = positions_[static_cast<size_t>(position)];
  at.weight = std::min(at.weight + 1.0f, memory_);
  at.rate += ((holds ? 1.0f : 0.0f) - at.rate) / at.weight;
}

double AcceptanceEstimate::probability(int64_t position) const {
  return static_cast<double>(positions_[static_cast<size_t>(std::min(position, kPositions - 1))].rate);
}

// That the next draft of the candidate holds, after `count` of them; `before`: that the one before does.
double gain_of(const DraftCandidate& candidate, int64_t count, double before) {
  if (candidate.gains.empty()) return before * candidate.acceptance->probability(count);
  const int64_t num_known = std::ssize(candidate.gains);
  if (count < num_known) return candidate.gains[static_cast<size_t>(count)];
  return candidate.gains.back() * static_cast<double>(num_known) / static_cast<double>(count + 1);
}

// How many drafts the candidate gets at once.
int64_t num_together(const DraftCandidate& candidate) {
  return candidate.is_all_or_none ? std::max<int64_t>(candidate.most, 1) : 1;
}

// That one of these drafts holds, on average.
double mean_gain_of(const DraftCandidate& candidate, int64_t count, double before) {
  const int64_t num_drafts = num_together(candidate);
  double gain = before;
  double sum = 0.0;
  for (int64_t i = 0; i < num_drafts; ++i) {
    gain = gain_of(candidate, count + i, gain);
    sum += gain;
  }
  return sum / static_cast<double>(num_drafts);
}

// Of a probe.
struct Price {
  double ms = 0.0;
  bool may_pay = false;  // it would if all its drafts held
};

// A number of drafts for each candidate, and the step with them.
struct DraftBudget::Plan {
  double tokens = 0.0;  // that the step is expected to give
  double ms = 0.0;      // that it takes with the drafting and all work around it
  StepShape shape;
  std::vector<size_t> drafts = {};  // the candidate of each draft

  double rate() const { return tokens / ms; }
};

// Prompts are work that must be done anyway. So drafts are weighed against a step of the decoding sequences alone, but
// their own cost is that in the step as it is.
class DraftBudget::Planner {
 public:
  // `drafting`: what is known of the drafter.
  Planner(const CostModel& cost, const DraftStep& step, const DraftAccount& account, const DraftAccount& drafting,
          std::span<const DraftCandidate> candidates)
      : cost_(cost.is_fitted() ? cost : unknown_machine()),
        step_(step),
        account_(account),
        drafting_(drafting),
        candidates_(candidates) {
    const StepShape whole = sum_of(step.decodes, step.prompts);
    decodes_ms_ = cost_.predict_ms(step.decodes);
    whole_ms_ = cost_.predict_ms(whole);
    plain_ = {static_cast<double>(step.decodes.sequences), account.plain_ms(cost_, step.decodes), whole};
  }

  const Plan& plain() const { return plain_; }
  bool is_before_drafting() const { return step_.is_before_drafting; }

  // No plan of this depth has a better rate: all drafts, in the time of a step without them.
  double most_rate(int64_t depth) const {
    double tokens = plain_.tokens;
    for (const DraftCandidate& candidate : candidates_) {
      const int64_t end = std::min(candidate.most, depth);
      if (candidate.is_all_or_none && end < candidate.most) continue;
      double gain = 1.0;
      for (int64_t i = 0; i < end; ++i) {
        gain = gain_of(candidate, i, gain);
        tokens += gain;
      }
    }
    return tokens / (account_.drafted_factor() * decodes_ms_ + draft_ms(depth));
  }

  // Adds drafts, the most probable first, and keeps those up to the point of the best rate. No candidate gets more than
  // `depth`.
  Plan best(int64_t depth) const {
    std::priority_queue<std::pair<double, size_t>> next;  // probability and candidate
    std::vector<int64_t> counts(candidates_.size(), 0);
    const auto push = [&](size_t i, double before) {
      const DraftCandidate& candidate = candidates_[i];
      if (counts[i] + num_together(candidate) > std::min(candidate.most, depth)) return;
      const double probability = mean_gain_of(candidate, counts[i], before);
      if (probability >= kMinProbability) next.emplace(probability, i);
    };
    for (size_t i = 0; i < candidates_.size(); ++i) push(i, 1.0);
    Plan present = plain_;
    Plan best = plain_;
    size_t num_best = 0;
    while (!next.empty()) {
      const auto [probability, i] = next.top();
      next.pop();
      const int64_t num_more = num_together(candidates_[i]);
      if (!has_room(present, num_more)) break;
      add_drafts(present.shape, candidates_[i].num_tokens + counts[i], num_more);
      if (!is_in_time(present.shape)) break;
      counts[i] += num_more;
      present.drafts.insert(present.drafts.end(), static_cast<size_t>(num_more), i);
      present.tokens += probability * static_cast<double>(num_more);
      present.ms = ms_of(present.shape, depth);
      if (present.ms - plain_.ms > account_.balance() * plain_.ms) break;
      if (present.rate() > best.rate()) {
        num_best = present.drafts.size();
        std::tie(best.tokens, best.ms, best.shape) = std::tie(present.tokens, present.ms, present.shape);
      }
      push(i, probability);
    }
    best.drafts.assign(present.drafts.begin(), present.drafts.begin() + static_cast<int64_t>(num_best));
    return best;
  }

  bool has_room(const Plan& plan, int64_t num_more) const {
    return std::ssize(plan.drafts) + num_more <= step_.max_drafts;
  }
  bool is_in_time(const StepShape& shape) const { return step_.max_ms <= 0 || cost_.predict_ms(shape) <= step_.max_ms; }
  // Of so many drafts more for the candidate. Nothing when there is no room for them, or when they could not pay even
  // if drafting took no time.
  std::optional<Price> price_of(const Plan& plan, const DraftCandidate& candidate, int64_t num_more) const {
    int64_t depth = candidate.count + num_more;
    for (const DraftCandidate& other : candidates_) depth = std::max(depth, other.count);
    StepShape shape = plan.shape;
    add_drafts(shape, candidate.num_tokens + candidate.count, num_more);
    if (!has_room(plan, num_more) || !is_in_time(shape)) return std::nullopt;
    const double least_ms = (plan.tokens + static_cast<double>(num_more)) / (kMinGain * plan.rate());
    if (step_ms(shape) >= least_ms) return std::nullopt;
    const double ms = ms_of(shape, depth);
    return Price{ms - plan.ms, ms < least_ms};
  }

  double ms_of(const StepShape& shape, int64_t depth) const { return step_ms(shape) + draft_ms(depth); }
  // Without the drafter's time.
  double step_ms(const StepShape& shape) const {
    return account_.drafted_factor() * (decodes_ms_ + std::max(0.0, cost_.predict_ms(shape) - whole_ms_));
  }

 private:
  double draft_ms(int64_t depth) const { return step_.is_before_drafting ? drafting_.draft_ms(depth) : 0.0; }

  const CostModel& cost_;
  const DraftStep& step_;
  const DraftAccount& account_;
  const DraftAccount& drafting_;
  const std::span<const DraftCandidate> candidates_;
  double decodes_ms_ = 0.0;  // predicted
  double whole_ms_ = 0.0;
  Plan plain_;
};

DraftStep next_step(const Scheduler& scheduler) {
  const SchedulerOptions& limits = scheduler.options();
  DraftStep step;
  int64_t num_prompt_rows = 0;
  for (const Sequence* sequence : scheduler.running()) {
    if (sequence->is_prefilling()) {
      num_prompt_rows += sequence->num_uncomputed_tokens();
    } else if (sequence->num_pending_tokens == 0 || !sequence->awaits_tokens) {
      ++step.decodes.rows;
      ++step.decodes.sequences;
      step.decodes.attended += static_cast<double>(sequence->num_tokens());
    }
  }
  if (scheduler.num_running() < limits.max_sequences) {
    for (const Sequence* sequence : scheduler.waiting()) num_prompt_rows += sequence->num_uncomputed_tokens();
  }
  step.prompts.rows = std::min(num_prompt_rows, limits.max_batch_tokens - step.decodes.rows);
  step.max_ms = limits.target_step_ms;
  // As the scheduler counts them, so that it leaves out none: it would not know which bring least.
  step.max_drafts = std::min(limits.max_batch_tokens - step.decodes.rows - step.prompts.rows,
                             limits.max_logit_rows - limits.max_sequences);
  // Prompts take all the time that the target leaves.
  if (step.prompts.rows > 0 && limits.target_step_ms > 0) step.max_drafts = 0;
  return step;
}

size_t DraftBudget::account_of(int64_t num_sequences) {
  const auto width =
      static_cast<size_t>(std::bit_width(static_cast<uint64_t>(std::max<int64_t>(num_sequences, 1) - 1)));
  return std::min(width, kNumAccounts - 1);
}

const DraftAccount& DraftBudget::drafting_at(size_t account) const {
  for (size_t distance = 0; distance < kNumAccounts; ++distance) {
    if (distance <= account && accounts_[account - distance].knows_drafting()) return accounts_[account - distance];
    const size_t above = account + distance;
    if (above < kNumAccounts && accounts_[above].knows_drafting()) return accounts_[above];
  }
  return accounts_[account];
}

bool DraftBudget::is_before_drafting(const CostModel& cost, const DraftStep& step, int64_t depth) const {
  const size_t account = account_of(step.decodes.sequences);
  const DraftAccount& drafting = drafting_at(account);
  return accounts_[account].balance() < 1.0 || accounts_[account].needs_plain() || !drafting.knows_drafting() ||
         drafting.draft_ms(depth) > kNoTime * cost.predict_ms(step.decodes);
}

void DraftBudget::note_drafting(int64_t num_sequences, int64_t depth, double ms) {
  accounts_[account_of(num_sequences)].note_drafting(depth, ms);
}

void DraftBudget::note_step(const CostModel& cost, const DraftOutcome& outcome) {
  if (cost.is_fitted()) accounts_[account_of(outcome.plain.sequences)].note_step(cost, outcome);
}

void DraftBudget::choose(const CostModel& cost, const DraftStep& step, std::span<DraftCandidate> candidates) {
  for (DraftCandidate& candidate : candidates) candidate.count = 0;
  int64_t most = 0;
  for (const DraftCandidate& candidate : candidates) most = std::max(most, candidate.most);
  if (most == 0 || step.decodes.sequences == 0) return;
  ++num_unpaid_;
  const bool is_like_last = std::exchange(last_sequences_, step.decodes.sequences) == step.decodes.sequences;
  const bool may_rest = step.is_before_drafting && !step.has_ready_drafts;
  const bool has_new = std::ranges::any_of(candidates, [](const DraftCandidate& each) { return each.num_idle == 0; });
  if (!is_like_last || has_new) num_resting_ = std::min(num_resting_, kMostResting);
  if (may_rest && num_resting_ > 0) {
    --num_resting_;
    return;
  }
  num_resting_ = 0;
  const size_t at = account_of(step.decodes.sequences);
  // What drafts are weighed against must be measured: once in a while steps have none.
  if (cost.is_fitted() && (!cost.has_seen(step.decodes.rows, kPlainStepEvery) || accounts_[at].needs_plain())) return;
  const DraftAccount& drafting = drafting_at(at);
  if (step.is_before_drafting && !drafting.knows_drafting()) most = std::min(most, kFirstDepth);
  const Planner planner(cost, step, accounts_[at], drafting, candidates);
  Plan chosen = planner.plain();
  double best = kMinGain * chosen.rate();
  bool may_pay = false;  // if drafts took no rows
  // When drafting takes time, it takes as long as for the sequence with most drafts.
  for (int64_t depth = step.is_before_drafting ? 1 : most; depth <= most; ++depth) {
    if (planner.most_rate(depth) <= best) continue;
    may_pay = true;
    Plan plan = planner.best(depth);
    if (plan.rate() <= best) continue;
    best = plan.rate();
    chosen = std::move(plan);
  }
  for (const size_t i : chosen.drafts) ++candidates[i].count;
  const Probe probe = add_probe(planner, chosen, candidates);
  num_fruitless_ = chosen.drafts.empty() && !probe.is_added ? num_fruitless_ + 1 : 0;
  if (!may_rest || num_fruitless_ == 0) return;
  // Nothing but a probe could be found: for as long as drafts are forbidden, or take longer to make than they bring.
  const int64_t num_hopeless = may_pay ? std::min(accounts_[at].num_forbidden(), probe.num_steps) : probe.num_steps;
  num_resting_ = std::clamp(num_hopeless, std::min(num_fruitless_, kMostResting), kMostHopelessResting);
}

// Further drafts, or all where there are only all, for the candidate that has waited longest, when they would pay if
// they were sure to hold.
DraftBudget::Probe DraftBudget::add_probe(const Planner& planner, const Plan& chosen,
                                          std::span<DraftCandidate> candidates) {
  const double plain_ms = planner.plain().ms;
  const double most_ms = (planner.is_before_drafting() ? kMostProbeSteps : 1.0) * plain_ms;
  probe_ms_ =
      std::min(probe_ms_ + kProbeShare * plain_ms * static_cast<double>(std::exchange(num_unpaid_, 0)), most_ms);
  DraftCandidate* longest = nullptr;
  for (size_t n = 0; n < candidates.size(); ++n) {
    DraftCandidate& candidate = candidates[(first_probe_ + n) % candidates.size()];
    if (candidate.count + num_together(candidate) > candidate.most) continue;
    if (longest == nullptr || candidate.num_idle > longest->num_idle) longest = &candidate;
  }
  ++first_probe_;
  if (longest == nullptr) return {};
  // Of drafts that take no time to make the first tells enough.
  const bool is_far = planner.is_before_drafting() && num_probes_ % kFarProbeEvery == kFarProbeEvery - 1;
  const int64_t far = int64_t{2} << (num_probes_ / kFarProbeEvery % kFarProbeSizes);
  const int64_t sizes[] = {is_far ? far : 1, int64_t{1} << kFarProbeSizes, 1};
  for (size_t i = 0; i < std::size(sizes); ++i) {
    const int64_t left = longest->most - longest->count;
    const int64_t num_more = longest->is_all_or_none ? left : std::min(sizes[i], left);
    const std::optional<Price> price = planner.price_of(chosen, *longest, num_more);
    if (!price) return {};
    if (!price->may_pay && i + 1 < std::size(sizes)) continue;
    const double ms = price->ms * (price->may_pay ? 1.0 : kHopelessPrice);
    if (ms > probe_ms_) {
      return {.num_steps =
                  static_cast<int64_t>(std::ceil((std::min(ms, most_ms) - probe_ms_) / (kProbeShare * plain_ms)))};
    }
    probe_ms_ -= ms;
    ++num_probes_;
    longest->count += num_more;
    return {.is_added = true};
  }
  return {};
}

}  // namespace quire
