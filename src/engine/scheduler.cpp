#include "engine/scheduler.h"

#include <algorithm>

#include "base/check.h"

namespace quire {
namespace {

bool is_older(const Sequence* a, const Sequence* b) { return a->id < b->id; }

}  // namespace

Scheduler::Scheduler(const SchedulerOptions& options) : options_(options), blocks_(options.num_blocks) {
  CHECK(options.block_size > 0 && options.max_batch_tokens >= options.max_sequences && options.max_sequences > 0);
}

bool Scheduler::can_ever_fit(int64_t num_tokens, int num_slots) const {
  // One sequence alone must fit the whole pool; forks can be preempted down to one.
  return blocks_for(num_tokens) <= blocks_.num_total() && num_slots <= options_.max_sequences;
}

void Scheduler::add(Sequence* sequence) {
  CHECK(sequence->state == SequenceState::kWaiting && sequence->blocks.empty() && !sequence->tokens.empty());
  waiting_.insert(std::upper_bound(waiting_.begin(), waiting_.end(), sequence, is_older), sequence);
}

const StepPlan& Scheduler::plan() {
  plan_.items.clear();
  plan_.copies.clear();
  plan_.num_preempted = 0;
  budget_ = options_.max_batch_tokens;
  plan_running(/*decodes=*/true);
  plan_running(/*decodes=*/false);
  if (plan_.num_preempted == 0) admit();
  return plan_;
}

void Scheduler::plan_running(bool decodes) {
  // By index: preemption removes sequences from the end while this walks forward.
  for (size_t i = 0; i < running_.size() && budget_ > 0; ++i) {
    Sequence* sequence = running_[i];
    if ((sequence->num_uncomputed_tokens() == 1) != decodes) continue;
    if (!make_room(sequence)) return;  // it was the youngest itself
    add_item(sequence, std::min(sequence->num_uncomputed_tokens(), budget_));
  }
}

// Gives the sequence every block it may write in this step: a new one past the end of its table, a private copy where
// a fork shares the block. False when the sequence itself had to go.
bool Scheduler::make_room(Sequence* sequence) {
  const int64_t num_new = blocks_for(sequence->num_tokens()) - static_cast<int64_t>(sequence->blocks.size());
  const auto first_written = static_cast<size_t>(sequence->num_computed_tokens / options_.block_size);
  // Asked anew after each preemption: the youngest may have been the other holder.
  const auto must_copy = [&] {
    return first_written < sequence->blocks.size() && blocks_.is_shared(sequence->blocks[first_written]);
  };
  while (blocks_.num_free() < num_new + (must_copy() ? 1 : 0)) {
    const bool was_last = running_.back() == sequence;
    preempt_youngest();
    if (was_last) return false;
  }
  if (must_copy()) {
    const int32_t fresh = *blocks_.allocate();
    plan_.copies.emplace_back(sequence->blocks[first_written], fresh);
    blocks_.release(sequence->blocks[first_written]);
    sequence->blocks[first_written] = fresh;
  }
  take_blocks(sequence, num_new);
  return true;
}

void Scheduler::admit() {
  int64_t slots = slots_in_use();
  while (!waiting_.empty() && budget_ > 0) {
    Sequence* sequence = waiting_.front();
    const int64_t needed = blocks_for(sequence->num_tokens());
    if (slots + sequence->num_slots > options_.max_sequences || needed > blocks_.num_free()) return;
    waiting_.pop_front();
    slots += sequence->num_slots;
    sequence->state = SequenceState::kRunning;
    running_.insert(std::upper_bound(running_.begin(), running_.end(), sequence, is_older), sequence);
    take_blocks(sequence, needed);
    add_item(sequence, std::min(sequence->num_uncomputed_tokens(), budget_));
  }
}

void Scheduler::add_item(Sequence* sequence, int64_t num_tokens) {
  plan_.items.push_back({sequence, num_tokens, num_tokens == sequence->num_uncomputed_tokens()});
  budget_ -= num_tokens;
}

void Scheduler::commit() {
  for (const StepPlan::Item& item : plan_.items) item.sequence->num_computed_tokens += item.num_tokens;
  plan_.items.clear();
  plan_.copies.clear();
}

void Scheduler::fork(Sequence* parent, Sequence* child) {
  CHECK(parent->state == SequenceState::kRunning && parent->num_slots > 1 && child->blocks.empty());
  --parent->num_slots;
  child->num_slots = 1;
  child->state = SequenceState::kRunning;
  child->tokens = parent->tokens;
  child->num_prompt_tokens = parent->num_prompt_tokens;
  child->num_computed_tokens = parent->num_computed_tokens;
  child->blocks = parent->blocks;
  for (const int32_t block : child->blocks) blocks_.share(block);
  running_.insert(std::upper_bound(running_.begin(), running_.end(), child, is_older), child);
}

void Scheduler::finish(Sequence* sequence) {
  CHECK(plan_.items.empty());
  release_blocks(sequence);
  sequence->state = SequenceState::kFinished;
  std::erase(running_, sequence);
  std::erase(waiting_, sequence);
}

int64_t Scheduler::slots_in_use() const {
  int64_t slots = 0;
  for (const Sequence* sequence : running_) slots += sequence->num_slots;
  return slots;
}

bool Scheduler::is_planned(const Sequence* sequence) const {
  return std::any_of(plan_.items.begin(), plan_.items.end(),
                     [&](const StepPlan::Item& item) { return item.sequence == sequence; });
}

void Scheduler::preempt_youngest() {
  Sequence* sequence = running_.back();
  running_.pop_back();
  if (is_planned(sequence)) {
    // A younger decode was planned before an older prefill ran out of room: take its item and its copy back.
    const auto item = std::find_if(plan_.items.begin(), plan_.items.end(),
                                   [&](const StepPlan::Item& i) { return i.sequence == sequence; });
    budget_ += item->num_tokens;
    plan_.items.erase(item);
    std::erase_if(plan_.copies, [&](const auto& copy) {
      return std::find(sequence->blocks.begin(), sequence->blocks.end(), copy.second) != sequence->blocks.end();
    });
  }
  release_blocks(sequence);
  sequence->num_computed_tokens = 0;
  sequence->state = SequenceState::kWaiting;
  ++sequence->num_preemptions;
  ++plan_.num_preempted;
  waiting_.insert(std::upper_bound(waiting_.begin(), waiting_.end(), sequence, is_older), sequence);
}

void Scheduler::take_blocks(Sequence* sequence, int64_t num_blocks) {
  for (int64_t i = 0; i < num_blocks; ++i) {
    const auto block = blocks_.allocate();
    CHECK(block.has_value());
    sequence->blocks.push_back(*block);
  }
}

void Scheduler::release_blocks(Sequence* sequence) {
  for (const int32_t block : sequence->blocks) blocks_.release(block);
  sequence->blocks.clear();
}

void Scheduler::check() const {
  blocks_.check();
  int64_t held = 0;
  for (const Sequence* sequence : running_) {
    CHECK(sequence->state == SequenceState::kRunning);
    CHECK(blocks_for(sequence->num_computed_tokens) <= static_cast<int64_t>(sequence->blocks.size()));
    held += static_cast<int64_t>(sequence->blocks.size());
  }
  for (const Sequence* sequence : waiting_) {
    CHECK(sequence->state == SequenceState::kWaiting && sequence->blocks.empty());
    CHECK(sequence->num_computed_tokens == 0);
  }
  CHECK(held == blocks_.num_references());
  CHECK(slots_in_use() <= options_.max_sequences);
}

}  // namespace quire
