// The part of the scheduler that deals with blocks: allocation for a step, preemption, roll-back.
#include <algorithm>

#include "base/check.h"
#include "engine/scheduler.h"

namespace quire {

// Gives the sequence every block that it writes in this step: new blocks after the end of its tables, and private
// copies of blocks that forks share. Before that it releases the blocks that its windows have passed. False when the
// sequence itself had to be preempted.
bool Scheduler::make_room(Sequence* sequence, int64_t num_tokens) {
  const int64_t first = sequence->num_computed_tokens;
  const int64_t end = first + num_tokens;
  kv_.release_before(*sequence, first);
  // Evaluated again after each preemption: the preempted sequence may have been the other holder of a shared block.
  const auto has_room = [&] {
    for (size_t g = 0; g < kv_.num_groups(); ++g) {
      const int64_t needed = kv_.num_blocks_to_cover(g, *sequence, end) + (kv_.is_shared(g, *sequence, first) ? 1 : 0);
      if (kv_.blocks(g).num_available() < needed) return false;
    }
    return true;
  };
  while (!has_room()) {
    if (release_ending() || release_parked()) continue;
    const bool was_last = running_.back() == sequence;
    preempt_last();
    if (was_last) return false;
  }
  kv_.copy_on_write(*sequence, first, plan_.moves);
  kv_.cover(*sequence, end);
  return true;
}

// The number of drafts for this step, with blocks for them. Drafts leave one block for each running sequence.
int64_t Scheduler::plan_drafts(Sequence* sequence) {
  if (sequence->num_pending_tokens > 0 || sequence->max_tokens == 0) return 0;
  // The last token of a sequence is never computed, so it needs no position.
  int64_t end = sequence->max_tokens - 1;
  // Positions beyond the RoPE switch would see other K and V.
  const int64_t rope_switch = options_.rope_switch_length;
  if (rope_switch > 0 && !sequence->is_long) end = std::min(end, rope_switch);
  return kv_.cover_drafts(*sequence, {.num_drafts = std::min(budget_, logit_budget_),
                                      .num_branches = branch_budget_,
                                      .end = end,
                                      .num_reserved = num_running()});
}

void Scheduler::preempt_last() {
  Sequence* sequence = running_.back();
  running_.pop_back();
  remove_from_plan(sequence);
  if (should_swap(*sequence)) {
    kv_.swap_out(*sequence, plan_.moves);
    ++num_swaps_;
  } else {
    sequence->num_computed_tokens = sequence->num_settled_tokens = 0;
    ++sequence->num_restarts;
  }
  kv_.release(*sequence);
  // When a step in flight settles, they tell what became of the others.
  if (sequence->num_pending_drafts == 0) sequence->drafts.clear();
  sequence->kv.num_published = 0;
  sequence->state = SequenceState::kWaiting;
  ++sequence->num_preemptions;
  ++num_preemptions_;
  has_preempted_ = true;
  insert_waiting(sequence);
}

bool Scheduler::should_swap(const Sequence& sequence) const {
  if (sequence.num_computed_tokens == 0 || !kv_.can_swap_out(sequence)) return false;
  if (options_.preemption != Preemption::kCheapest) return options_.preemption == Preemption::kSwap;
  const auto n = static_cast<double>(sequence.num_computed_tokens);
  const double recompute_ms = cost_.predict_ms({sequence.num_computed_tokens, 1, n * n / 2});
  return 2 * move_ms_ * static_cast<double>(kv_.num_to_swap(sequence)) < recompute_ms;
}

// The accepted drafts become the sequence's, before it forgets them. Returns how many of them are computed in its own
// blocks now: without its branches only those on the trunk.
int64_t Scheduler::keep_accepted(Sequence& sequence, const StepPlan::Item& item, std::span<const int32_t> accepted) {
  if (item.num_on_trunk == item.num_drafts) return std::ssize(accepted);
  int32_t last = -1;
  int64_t num_on_trunk = 0;
  for (const int32_t token : accepted) {
    last = sequence.drafts.find_child(last, token);
    CHECK(last >= 0);
    // A draft is as deep in the tree as its number says on the trunk only.
    num_on_trunk += last == num_on_trunk ? 1 : 0;
  }
  if (sequence.kv.branches.empty()) return num_on_trunk;
  kv_.accept_branches(sequence, last);
  return std::ssize(accepted);
}

// Drops the positions from num_computed on, in the pool or in swap space.
void Scheduler::roll_back(Sequence* sequence, int64_t num_computed) {
  sequence->num_computed_tokens = num_computed;
  kv_.release(*sequence, kv_.blocks_for(sequence->num_tokens()));
  kv_.release_host(*sequence, kv_.blocks_for(num_computed));
}

// Ending sequences release their blocks before their last step has settled, so its blocks are not published.
bool Scheduler::release_ending() {
  bool has_released = false;
  for (Sequence* sequence : ending_) {
    has_released = has_released || !sequence->kv.tables.empty();
    kv_.release(*sequence);
  }
  return has_released;
}

void Scheduler::check() const {
  std::vector<const Sequence*> all(waiting_.begin(), waiting_.end());
  all.insert(all.end(), running_.begin(), running_.end());
  all.insert(all.end(), ending_.begin(), ending_.end());
  all.insert(all.end(), parked_.begin(), parked_.end());
  kv_.check(all);
  for (const Sequence* sequence : running_) {
    CHECK(sequence->state == SequenceState::kRunning && !sequence->kv.is_swapped() && !sequence->kv.tables.empty());
    CHECK(sequence->num_settled_tokens <= sequence->num_computed_tokens);
    CHECK(sequence->num_settled_tokens <= sequence->num_known_tokens());
  }
  for (const Sequence* sequence : ending_) {
    CHECK(sequence->state == SequenceState::kEnding && !sequence->kv.is_swapped());
  }
  for (const Sequence* sequence : parked_) {
    CHECK(sequence->state == SequenceState::kParked && !sequence->kv.is_swapped());
    CHECK(sequence->kv.tables.empty() == (sequence->num_computed_tokens == 0));
  }
  for (const Sequence* sequence : waiting_) {
    CHECK(sequence->state == SequenceState::kWaiting && sequence->kv.tables.empty());
    CHECK(sequence->kv.is_swapped() == (sequence->num_computed_tokens > 0));
  }
  CHECK(num_choices_running() + num_parked_with_blocks() <= options_.max_sequences);
}

}  // namespace quire
