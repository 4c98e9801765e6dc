#include "engine/step_loop.h"

#include <limits>
#include <set>
#include <utility>

namespace quire {

const StartedStep* StepLoop::step() {
  if (in_flight_.empty() && !start()) return nullptr;
  while (static_cast<int>(in_flight_.size()) < max_in_flight_ && executor_.may_start_ahead() && start()) {
  }
  results_.forks.clear();
  results_.tokens.assign(in_flight_.front().items.size(), {});
  executor_.finish(in_flight_.front().items, results_);
  // The buffers are swapped, so that steps of similar size allocate no memory.
  std::swap(settled_, in_flight_.front());
  in_flight_.pop_front();

  for (size_t i = 0; i < settled_.items.size(); ++i) {
    if (settled_.items[i].sequence != nullptr) scheduler_.settle(settled_.items[i], results_.tokens[i]);
  }
  for (const StepResults::Fork& fork : results_.forks) {
    scheduler_.fork(settled_.items[fork.parent].sequence, fork.child, fork.token);
  }
  scheduler_.observe_step_ms(settled_.shape, results_.step_ms);
  return &settled_;
}

// False when no sequence can run; blocks may have been moved even then.
bool StepLoop::start() {
  is_planning_ = true;
  scheduler_.complete_moves(executor_.completed_moves());
  const StepPlan& plan = scheduler_.plan();
  const bool has_items = !plan.items.empty();
  if (has_items) in_flight_.push_back({plan.items, plan.shape});
  // The step begins before its moves are made: if they throw, abandon() finds a step that has begun.
  scheduler_.begin();
  if (!plan.moves.empty()) executor_.move(plan.moves);
  is_planning_ = false;
  if (has_items) executor_.start(in_flight_.back().items);
  return has_items;
}

void StepLoop::finish(Sequence* sequence) {
  for (StartedStep& step : in_flight_) {
    for (StepPlan::Item& item : step.items) {
      if (item.sequence == sequence) item.sequence = nullptr;
    }
  }
  scheduler_.finish(sequence);
}

std::vector<Sequence*> StepLoop::abandon() {
  std::set<Sequence*> doubtful;
  for (const StartedStep& step : in_flight_) {
    for (const StepPlan::Item& item : step.items) doubtful.insert(item.sequence);
  }
  if (is_planning_) {
    // Some moves may not have been made, so the blocks of every running and swapped sequence may be wrong.
    scheduler_.begin();
    doubtful.insert(scheduler_.running().begin(), scheduler_.running().end());
    for (Sequence* sequence : scheduler_.waiting()) {
      if (sequence->kv.is_swapped()) doubtful.insert(sequence);
    }
  }
  doubtful.erase(nullptr);
  scheduler_.complete_moves(std::numeric_limits<uint64_t>::max());  // no move is running any more
  in_flight_.clear();
  is_planning_ = false;
  return {doubtful.begin(), doubtful.end()};
}

}  // namespace quire
