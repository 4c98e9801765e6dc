// The scheduler's part that deals with blocks: room for a step, preemption, roll-back, the prefix cache.
#include <algorithm>

#include "base/check.h"
#include "engine/scheduler.h"

namespace quire {

// Gives the sequence every block it may write in this step: a new one past the end of its table, a private copy where
// a fork shares the block. False when the sequence itself had to go.
bool Scheduler::make_room(Sequence* sequence) {
  const int64_t num_new = blocks_for(sequence->num_tokens()) - static_cast<int64_t>(sequence->blocks.size());
  const auto first_written = static_cast<size_t>(sequence->num_computed_tokens / options_.block_size);
  // Asked again after each preemption: the one that went may have been the other holder.
  const auto must_copy = [&] {
    return first_written < sequence->blocks.size() && blocks_.is_shared(sequence->blocks[first_written]);
  };
  while (blocks_.num_available() < num_new + (must_copy() ? 1 : 0)) {
    if (release_ending()) continue;
    const bool was_last = running_.back() == sequence;
    preempt_last();
    if (was_last) return false;
  }
  if (must_copy()) {
    const int32_t fresh = *blocks_.allocate();
    plan_.moves.push_back({StepPlan::Move::Kind::kCopy, sequence->blocks[first_written], fresh});
    blocks_.release(sequence->blocks[first_written]);
    sequence->blocks[first_written] = fresh;
  }
  take_blocks(sequence, num_new);
  return true;
}

// Drafts for this step, with blocks for them. They take nothing that others may need: a block each, a row each.
int64_t Scheduler::take_drafts(Sequence* sequence) {
  if (sequence->num_promised > 0 || sequence->max_tokens == 0) return 0;
  const int64_t num_spare = blocks_.num_available() - num_running();
  const int64_t num_held = static_cast<int64_t>(sequence->blocks.size());
  const int64_t room = (num_held + std::max<int64_t>(num_spare, 0)) * options_.block_size - sequence->num_tokens();
  // The last token that the sequence may have needs no position.
  const int64_t num_drafts = std::min({static_cast<int64_t>(sequence->drafts.size()), room, budget_ - 1, draft_budget_,
                                       logit_budget_, sequence->max_tokens - sequence->num_tokens() - 1});
  if (num_drafts <= 0) return 0;
  take_blocks(sequence, std::max<int64_t>(blocks_for(sequence->num_tokens() + num_drafts) - num_held, 0));
  return num_drafts;
}

void Scheduler::preempt_last() {
  Sequence* sequence = running_.back();
  running_.pop_back();
  leave_plan(sequence);
  if (should_swap(*sequence)) {
    swap_out(sequence);
  } else {
    sequence->num_computed_tokens = sequence->num_settled_tokens = 0;
    ++sequence->num_restarts;
  }
  release_blocks(sequence);
  sequence->drafts.clear();
  sequence->num_published = 0;
  sequence->state = SequenceState::kWaiting;
  ++sequence->num_preemptions;
  ++num_preemptions_;
  has_preempted_ = true;
  insert_waiting(sequence);
}

bool Scheduler::should_swap(const Sequence& sequence) const {
  const int64_t num_blocks = blocks_for(sequence.num_computed_tokens);
  if (num_blocks == 0 || num_blocks > static_cast<int64_t>(free_swap_slots_.size())) return false;
  if (options_.preemption != Preemption::kCheapest) return options_.preemption == Preemption::kSwap;
  const auto n = static_cast<double>(sequence.num_computed_tokens);
  const double recompute_ms = cost_.predict_ms({sequence.num_computed_tokens, 1, n * n / 2});
  return 2 * move_ms_ * static_cast<double>(num_blocks) < recompute_ms;
}

void Scheduler::swap_out(Sequence* sequence) {
  for (int64_t i = 0; i < blocks_for(sequence->num_computed_tokens); ++i) {
    const int32_t slot = free_swap_slots_.back();
    free_swap_slots_.pop_back();
    plan_.moves.push_back({StepPlan::Move::Kind::kSwapOut, sequence->blocks[i], slot});
    sequence->swap_slots.push_back(slot);
  }
  ++num_swaps_;
}

void Scheduler::swap_in(Sequence* sequence) {
  take_blocks(sequence, static_cast<int64_t>(sequence->swap_slots.size()));
  for (size_t i = 0; i < sequence->swap_slots.size(); ++i) {
    plan_.moves.push_back({StepPlan::Move::Kind::kSwapIn, sequence->swap_slots[i], sequence->blocks[i]});
  }
  // Free at once: a slot that is given out again in this plan is written by a later move.
  release_swap(sequence);
}

// The positions from num_computed on are unknown again. What lies in swap space is cut likewise.
void Scheduler::roll_back(Sequence* sequence, int64_t num_computed) {
  sequence->num_computed_tokens = num_computed;
  release_blocks(sequence, blocks_for(sequence->num_tokens()));
  release_swap(sequence, blocks_for(num_computed));
}

void Scheduler::take_blocks(Sequence* sequence, int64_t num_blocks) {
  for (int64_t i = 0; i < num_blocks; ++i) {
    const auto block = blocks_.allocate();
    CHECK(block.has_value());
    sequence->blocks.push_back(*block);
  }
}

void Scheduler::release_blocks(Sequence* sequence, int64_t num_kept) {
  // From the end: of a prefix that nobody uses any more the tail is forgotten first.
  while (static_cast<int64_t>(sequence->blocks.size()) > num_kept) {
    blocks_.release(sequence->blocks.back());
    sequence->blocks.pop_back();
  }
}

// Those that end give up their blocks before they have settled: what their last step computes is not published then.
bool Scheduler::release_ending() {
  bool has_released = false;
  for (Sequence* sequence : ending_) {
    has_released = has_released || !sequence->blocks.empty();
    release_blocks(sequence);
  }
  return has_released;
}

void Scheduler::release_swap(Sequence* sequence, int64_t num_kept) {
  while (static_cast<int64_t>(sequence->swap_slots.size()) > num_kept) {
    free_swap_slots_.push_back(sequence->swap_slots.back());
    sequence->swap_slots.pop_back();
  }
}

std::span<const int32_t> Scheduler::tokens_of_block(const Sequence& sequence, int64_t index) const {
  return std::span(sequence.tokens).subspan(index * options_.block_size, options_.block_size);
}

void Scheduler::extend_hashes(Sequence* sequence, int64_t num_blocks) const {
  std::vector<PrefixHash>& hashes = sequence->hashes;
  if (hashes.empty()) hashes.push_back(prefix_root(options_.hash_key, sequence->cache_salt));
  while (static_cast<int64_t>(hashes.size()) <= num_blocks) {
    const auto tokens = tokens_of_block(*sequence, static_cast<int64_t>(hashes.size()) - 1);
    hashes.push_back(extend_prefix(options_.hash_key, hashes.back(), tokens));
  }
}

Scheduler::Hit Scheduler::find_prefix(Sequence* sequence) const {
  Hit hit;
  if (!may_publish(*sequence) || sequence->needs_all_rows || !sequence->swap_slots.empty()) return hit;
  // The last known token is always computed: its logits are wanted.
  const int64_t most = (sequence->num_tokens() - 1) / options_.block_size;
  for (int64_t i = 0; i < most; ++i) {
    extend_hashes(sequence, i + 1);
    const auto block = blocks_.find(sequence->hashes[i], sequence->hashes[i + 1], tokens_of_block(*sequence, i));
    if (!block) break;
    hit.blocks.push_back(*block);
    hit.num_cached += blocks_.is_cached(*block) ? 1 : 0;
  }
  return hit;
}

void Scheduler::publish_full_blocks(Sequence* sequence) {
  const int64_t full = sequence->num_settled_tokens / options_.block_size;
  for (int64_t i = sequence->num_published; i < full; ++i) {
    extend_hashes(sequence, i + 1);
    blocks_.publish(sequence->blocks[i], sequence->hashes[i], sequence->hashes[i + 1], tokens_of_block(*sequence, i));
  }
  sequence->num_published = std::max(sequence->num_published, full);
}

void Scheduler::check() const {
  blocks_.check();
  int64_t held = 0;
  for (const Sequence* sequence : running_) {
    CHECK(sequence->state == SequenceState::kRunning && sequence->swap_slots.empty());
    CHECK(blocks_for(sequence->num_computed_tokens) <= static_cast<int64_t>(sequence->blocks.size()));
    CHECK(sequence->num_settled_tokens <= sequence->num_computed_tokens);
    CHECK(sequence->num_settled_tokens <= sequence->num_known_tokens());
    held += static_cast<int64_t>(sequence->blocks.size());
  }
  for (const Sequence* sequence : ending_) {
    CHECK(sequence->state == SequenceState::kEnding && sequence->swap_slots.empty());
    held += static_cast<int64_t>(sequence->blocks.size());
  }
  int64_t swapped = 0;
  for (const Sequence* sequence : waiting_) {
    CHECK(sequence->state == SequenceState::kWaiting && sequence->blocks.empty());
    CHECK(static_cast<int64_t>(sequence->swap_slots.size()) == blocks_for(sequence->num_computed_tokens));
    swapped += static_cast<int64_t>(sequence->swap_slots.size());
  }
  CHECK(held == blocks_.num_references());
  CHECK(swapped + static_cast<int64_t>(free_swap_slots_.size()) == options_.num_swap_slots);
  CHECK(num_choices_running() <= options_.max_sequences);
}

}  // namespace quire
