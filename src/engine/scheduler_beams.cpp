// The part of the scheduler that deals with beams: between two of their steps they are parked.
#include <algorithm>

#include "base/check.h"
#include "engine/scheduler.h"

namespace quire {

void Scheduler::park(Sequence* sequence) {
  std::erase(running_, sequence);
  std::erase(waiting_, sequence);
  // It has kept places for all beams of its search until they part.
  if (is_fair()) tenants_.leave(sequence->tenant, sequence->num_choices - 1);
  sequence->num_choices = 1;
  // One that was preempted while its last step ran needs nothing of what it had computed.
  if (sequence->kv.tables.empty()) forget_computed(*sequence);
  sequence->state = SequenceState::kParked;
  parked_.push_back(sequence);
}

void Scheduler::forget_computed(Sequence& sequence) {
  kv_.release(sequence);
  kv_.release_host(sequence);
  sequence.kv.num_published = 0;
  sequence.num_computed_tokens = sequence.num_settled_tokens = 0;
  ++sequence.num_restarts;
}

bool Scheduler::release_parked() {
  bool has_released = false;
  for (Sequence* sequence : parked_) {
    if (sequence->kv.tables.empty()) continue;
    forget_computed(*sequence);
    ++sequence->num_preemptions;
    ++num_preemptions_;
    has_released = true;
  }
  return has_released;
}

int64_t Scheduler::num_parked_with_blocks() const {
  return std::ranges::count_if(parked_, [](const Sequence* sequence) { return !sequence->kv.tables.empty(); });
}

void Scheduler::resume(Sequence* sequence, int32_t token) {
  CHECK(sequence->state == SequenceState::kParked);
  std::erase(parked_, sequence);
  sequence->tokens.push_back(token);
  if (!sequence->kv.tables.empty()) return insert_running(sequence);
  sequence->state = SequenceState::kWaiting;
  insert_waiting(sequence);
}

void Scheduler::branch(Sequence* parent, Sequence* child, int32_t token) {
  CHECK(parent->state == SequenceState::kParked && child->kv.tables.empty());
  const uint64_t id = child->id;
  *child = *parent;
  child->id = id;
  child->num_preemptions = 0;  // the parent's are counted there
  child->tokens.push_back(token);
  if (is_fair()) tenants_.arrive(child->tenant, 1);
  const bool has_place = num_choices_running() + num_parked_with_blocks() < options_.max_sequences;
  if (has_place && !parent->kv.tables.empty()) {
    kv_.share(*parent, *child);
    return insert_running(child);
  }
  child->kv = {};
  forget_computed(*child);
  child->state = SequenceState::kWaiting;
  insert_waiting(child);
}

}  // namespace quire
