#include "engine/draft_account.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace quire {
namespace {

// The share of the time that drafts may lose.
constexpr double kLostShare = 0.005;
constexpr double kMostDebt = 2.0;    // plain steps
constexpr double kMostInVain = 0.1;  // likewise: what asking counts for that gave no drafts
// The weight of a new factor, and what remains of the older times of the drafter at each new one.
constexpr double kNewWeight = 0.05;
constexpr double kDecay = 0.98;
constexpr double kMinSpread = 1e-6;
// A measured time counts at most as this multiple of what was expected: another process may have held it up.
constexpr double kMaxRatio = 3.0;
constexpr double kLeastMs = 1e-4;

double new_weight(int64_t count) { return std::max(kNewWeight, 1.0 / static_cast<double>(count)); }

}  // namespace

void DraftAccount::note_drafting(int64_t depth, double ms) {
  const auto at = static_cast<double>(depth);
  if (drafting_.weight > 1.5) ms = std::min(ms, kMaxRatio * std::max(draft_ms(depth), kLeastMs));
  for (double* sum :
       {&drafting_.weight, &drafting_.depth, &drafting_.depth_squared, &drafting_.ms, &drafting_.depth_ms}) {
    *sum *= kDecay;
  }
  drafting_.weight += 1.0;
  drafting_.depth += at;
  drafting_.depth_squared += at * at;
  drafting_.ms += ms;
  drafting_.depth_ms += at * ms;
}

double DraftAccount::draft_ms(int64_t depth) const {
  if (depth <= 0 || !knows_drafting()) return 0.0;
  const double mean_depth = drafting_.depth / drafting_.weight;
  const double mean_ms = drafting_.ms / drafting_.weight;
  const double spread = drafting_.depth_squared - drafting_.depth * mean_depth;
  // Of one depth alone it is not known how others differ: no difference is soon found wrong, a large one never.
  const double slope = (drafting_.depth_ms - drafting_.depth * mean_ms) / std::max(spread, kMinSpread);
  // Neither a token nor a call takes less than nothing.
  return mean_ms + std::clamp(slope, 0.0, mean_ms / mean_depth) * (static_cast<double>(depth) - mean_depth);
}

// Proportional to the prediction, so that it grows with the context.
double DraftAccount::plain_ms(const CostModel& cost, const StepShape& shape) const {
  const double predicted = cost.predict_ms(shape);
  if (plain_.count == 0) return std::max(drafted_.factor * predicted, kLeastMs);
  const auto rows = std::llround(plain_.rows);
  const double at_mean = cost.predict_ms({rows, rows, plain_.attended});
  return std::max(plain_.ms * predicted / std::max(at_mean, kLeastMs), kLeastMs);
}

int64_t DraftAccount::num_forbidden() const {
  return static_cast<int64_t>(std::ceil(std::max(-balance_, 0.0) / kLostShare));
}

void DraftAccount::note_step(const CostModel& cost, const DraftOutcome& outcome) {
  const bool is_plain = outcome.shape.rows == outcome.plain.rows && outcome.draft_ms <= 0.0;
  const bool follows_plain = std::exchange(was_plain_, is_plain);
  const double step_ms = outcome.ms - outcome.draft_ms;
  balance_ += kLostShare;
  if (is_plain && follows_plain) {
    num_unmeasured_ = 0;
    const double ms = plain_.count == 0 ? step_ms : std::min(step_ms, kMaxRatio * plain_ms(cost, outcome.plain));
    const double weight = new_weight(++plain_.count);
    plain_.rows += weight * (static_cast<double>(outcome.plain.rows) - plain_.rows);
    plain_.attended += weight * (outcome.plain.attended - plain_.attended);
    plain_.ms += weight * (ms - plain_.ms);
  } else {
    ++num_unmeasured_;
    const double predicted = std::max(cost.predict_ms(outcome.shape), kLeastMs);
    const double ms = std::min(step_ms, kMaxRatio * drafted_.factor * predicted);
    if (!is_plain) drafted_.factor += new_weight(++drafted_.count) * (ms / predicted - drafted_.factor);
    const double num_plain_steps = static_cast<double>(outcome.num_tokens) / static_cast<double>(outcome.plain.rows);
    const double plain = plain_ms(cost, outcome.plain);
    const double draft_ms = outcome.has_drafts ? outcome.draft_ms : std::min(outcome.draft_ms, kMostInVain * plain);
    balance_ -= (draft_ms + ms) / plain - num_plain_steps;
  }
  // One step that was held up must not forbid drafts for long.
  balance_ = std::clamp(balance_, -kMostDebt, kMostBalance);
}

}  // namespace quire
