#include "engine/draft_budget.h"

#include <algorithm>
#include <queue>
#include <tuple>
#include <utility>

#include "engine/scheduler.h"

namespace quire {
namespace {

// A gain below this is lost in the error of the predictions.
constexpr double kMinGain = 1.02;
// The share of the time that probes may take.
constexpr double kProbeShare = 0.006;
// A draft less probable than this is not looked at.
constexpr double kMinProbability = 0.01;
constexpr double kMinMs = 1e-3;
constexpr int64_t kPlainStepEvery = 256;

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

void AcceptanceEstimate::observe(int64_t num_verified, int64_t num_accepted) {
  const int64_t end = std::min(num_verified, num_accepted + 1);
  for (int64_t i = 0; i < end; ++i) observe_at(i, i < num_accepted);
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

// A number of drafts for each candidate, and the step with them.
struct DraftBudget::Plan {
  double tokens = 0.0;  // that the step is expected to give
  double ms = 0.0;      // that it takes with the drafting
  StepShape shape;
  std::vector<size_t> drafts = {};  // the candidate of each draft

  double rate() const { return tokens / ms; }
};

// Prompts are work that must be done anyway. So drafts are weighed against a step of the decoding sequences alone, but
// their own cost is that in the step as it is.
class DraftBudget::Planner {
 public:
  Planner(const CostModel& cost, const DraftStep& step, std::span<const DraftCandidate> candidates)
      : cost_(cost.is_fitted() ? cost : unknown_machine()), step_(step), candidates_(candidates) {
    const StepShape whole = sum_of(step.decodes, step.prompts);
    plain_ = {static_cast<double>(step.decodes.sequences), std::max(cost_.predict_ms(step.decodes), kMinMs), whole};
    plain_whole_ms_ = cost_.predict_ms(whole);
  }

  const Plan& plain() const { return plain_; }

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
  double ms_of(const StepShape& shape, int64_t depth) const {
    return plain_.ms + std::max(0.0, cost_.predict_ms(shape) - plain_whole_ms_) + draft_ms(depth);
  }

 private:
  double draft_ms(int64_t depth) const {
    if (step_.draft_ms.empty()) return 0.0;
    return step_.draft_ms[static_cast<size_t>(std::min(depth, static_cast<int64_t>(step_.draft_ms.size()) - 1))];
  }

  const CostModel& cost_;
  const DraftStep& step_;
  const std::span<const DraftCandidate> candidates_;
  Plan plain_;
  double plain_whole_ms_ = 0.0;
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
  step.max_drafts = limits.max_batch_tokens - step.decodes.rows - step.prompts.rows;
  // Prompts take all the time that the target leaves.
  if (step.prompts.rows > 0 && limits.target_step_ms > 0) step.max_drafts = 0;
  return step;
}

void DraftBudget::choose(const CostModel& cost, const DraftStep& step, std::span<DraftCandidate> candidates) {
  for (DraftCandidate& candidate : candidates) candidate.count = 0;
  int64_t most = 0;
  for (const DraftCandidate& candidate : candidates) most = std::max(most, candidate.most);
  if (most == 0 || step.decodes.sequences == 0) return;
  // What drafts are weighed against must be measured: once in a while a step has none.
  if (cost.is_fitted() && !cost.has_seen(step.decodes.rows, kPlainStepEvery)) return;
  const Planner planner(cost, step, candidates);
  Plan chosen = planner.plain();
  double best = kMinGain * chosen.rate();
  // When drafting takes time, it takes as long as for the sequence with most drafts.
  for (int64_t depth = step.draft_ms.empty() ? most : 1; depth <= most; ++depth) {
    Plan plan = planner.best(depth);
    if (plan.rate() <= best) continue;
    best = plan.rate();
    chosen = std::move(plan);
  }
  for (const size_t i : chosen.drafts) ++candidates[i].count;
  add_probe(planner, chosen, candidates);
}

// One draft more, or all where there are only all, for the candidate that has waited longest, when it would pay if one
// were sure to hold.
void DraftBudget::add_probe(const Planner& planner, const Plan& chosen, std::span<DraftCandidate> candidates) {
  const double plain_ms = planner.plain().ms;
  probe_ms_ = std::min(probe_ms_ + kProbeShare * plain_ms, plain_ms);
  DraftCandidate* longest = nullptr;
  for (size_t n = 0; n < candidates.size(); ++n) {
    DraftCandidate& candidate = candidates[(first_probe_ + n) % candidates.size()];
    if (candidate.count + num_together(candidate) > candidate.most) continue;
    if (longest == nullptr || candidate.num_idle > longest->num_idle) longest = &candidate;
  }
  ++first_probe_;
  if (longest == nullptr) return;
  const int64_t num_more = num_together(*longest);
  if (!planner.has_room(chosen, num_more)) return;
  int64_t depth = longest->count + num_more;
  for (const DraftCandidate& candidate : candidates) depth = std::max(depth, candidate.count);
  StepShape shape = chosen.shape;
  add_drafts(shape, longest->num_tokens + longest->count, num_more);
  const double ms = planner.ms_of(shape, depth);
  const bool would_pay = (chosen.tokens + 1.0) / ms > kMinGain * chosen.rate();
  if (!would_pay || ms - chosen.ms > probe_ms_ || !planner.is_in_time(shape)) return;
  probe_ms_ -= ms - chosen.ms;
  longest->count += num_more;
}

}  // namespace quire
