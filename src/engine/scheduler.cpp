#include "engine/scheduler.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "base/check.h"

namespace quire {
namespace {

// With an inter-token target: what one prompt gets per step whatever the model of costs says, so that it advances, and
// what all get together until that model has learned.
constexpr int64_t kLeastSlice = 8;
constexpr int64_t kRowsWhileUnknown = 32;
// Preempted this often, a sequence starts again only when everybody's growth has room: it is not preempted once more.
constexpr int64_t kPatience = 3;
// Work of a generated token against one of a prompt, as in the paper of the virtual token counter.
constexpr double kDecodeWork = 2.0;

double deadline_of(const Sequence* sequence) {
  return sequence->deadline_ms > 0 ? sequence->deadline_ms : std::numeric_limits<double>::infinity();
}

void add_shape(StepShape& shape, const StepPlan::Item& item, int sign) {
  const auto n = static_cast<double>(item.num_tokens);
  shape.rows += sign * item.num_tokens;
  shape.sequences += sign * (item.samples ? 1 : 0);
  shape.attended += sign * n * (static_cast<double>(item.sequence->num_computed_tokens) + (n + 1) / 2);
}

}  // namespace

Scheduler::Scheduler(const SchedulerOptions& options)
    : options_(options), blocks_(options.num_blocks, options.block_size), free_swap_slots_(options.num_swap_slots) {
  if (options_.max_logit_rows == 0) options_.max_logit_rows = options_.max_batch_tokens;
  CHECK(options.block_size > 0 && options.max_batch_tokens >= options.max_sequences && options.max_sequences > 0);
  CHECK(options_.max_logit_rows >= options_.max_sequences);
  std::iota(free_swap_slots_.rbegin(), free_swap_slots_.rend(), 0);
}

bool Scheduler::can_ever_fit(int64_t num_tokens, int num_slots) const {
  // One sequence alone must fit the whole pool; forks can be preempted down to one.
  return blocks_for(num_tokens) <= blocks_.num_total() && num_slots <= options_.max_sequences;
}

bool Scheduler::comes_before(const Sequence* a, const Sequence* b) const {
  if (options_.policy == SchedulingPolicy::kPriority && a->priority != b->priority) return a->priority < b->priority;
  if (options_.policy == SchedulingPolicy::kDeadline && deadline_of(a) != deadline_of(b)) {
    return deadline_of(a) < deadline_of(b);
  }
  return a->id < b->id;
}

void Scheduler::insert_waiting(Sequence* sequence) {
  const auto before = [this](const Sequence* a, const Sequence* b) { return comes_before(a, b); };
  waiting_.insert(std::upper_bound(waiting_.begin(), waiting_.end(), sequence, before), sequence);
}

void Scheduler::insert_running(Sequence* sequence) {
  const auto before = [this](const Sequence* a, const Sequence* b) { return comes_before(a, b); };
  sequence->state = SequenceState::kRunning;
  running_.insert(std::upper_bound(running_.begin(), running_.end(), sequence, before), sequence);
}

void Scheduler::add(Sequence* sequence) {
  CHECK(sequence->state == SequenceState::kWaiting && sequence->blocks.empty() && !sequence->tokens.empty());
  Tenant& tenant = tenants_[sequence->tenant];
  if (tenant.num_sequences == 0) {
    // Who comes back from a pause brings no credit for it.
    double least = std::numeric_limits<double>::infinity();
    for (const auto& [name, other] : tenants_) {
      if (other.num_sequences > 0) least = std::min(least, other.served);
    }
    if (least < std::numeric_limits<double>::infinity()) tenant.served = std::max(tenant.served, least);
  }
  tenant.num_sequences += sequence->num_slots;
  insert_waiting(sequence);
}

const StepPlan& Scheduler::plan() {
  plan_.items.clear();
  plan_.moves.clear();
  plan_.shape = {};
  plan_.num_preempted = 0;
  plan_.num_swapped_out = 0;
  budget_ = options_.max_batch_tokens;
  logit_budget_ = options_.max_logit_rows - options_.max_sequences;
  is_forming_ = running_.empty();
  const bool prefill_first = options_.first_served == FirstServed::kPrefill || !options_.chunked_prefill;
  if (!prefill_first) plan_running(/*decodes=*/true);
  plan_running(/*decodes=*/false);
  if (plan_.num_preempted == 0) admit();
  // Without chunks a prompt has its steps to itself.
  if (prefill_first && (options_.chunked_prefill || plan_.items.empty())) plan_running(/*decodes=*/true);
  return plan_;
}

void Scheduler::plan_running(bool decodes) {
  // By index: preemption removes sequences from the end while this walks forward.
  for (size_t i = 0; i < running_.size() && budget_ > 0; ++i) {
    Sequence* sequence = running_[i];
    if ((sequence->num_uncomputed_tokens() == 1) != decodes) continue;
    const bool is_planned = std::any_of(plan_.items.begin(), plan_.items.end(),
                                        [&](const StepPlan::Item& item) { return item.sequence == sequence; });
    if (is_planned) continue;  // a prompt of one new token, started in this step
    const int64_t num_tokens = decodes ? 1 : slice(*sequence, sequence->num_computed_tokens);
    if (num_tokens == 0) continue;
    if (!make_room(sequence)) return;  // it was the last itself
    add_item(sequence, num_tokens);
  }
}

// Tokens of a prompt for this step.
int64_t Scheduler::slice(const Sequence& sequence, int64_t num_computed) const {
  int64_t most = std::min(sequence.num_tokens() - num_computed, budget_);
  if (sequence.needs_all_rows) most = std::min(most, logit_budget_ + 1);
  return slice_within_target(num_computed, most);
}

int64_t Scheduler::slice_within_target(int64_t first_position, int64_t most) const {
  // Without running streams nobody waits for the step's end.
  if (options_.target_step_ms <= 0 || plan_.shape.sequences == 0 || !options_.chunked_prefill) return most;
  const int64_t prompt_rows = plan_.shape.rows - plan_.shape.sequences;
  const int64_t least = prompt_rows == 0 ? std::min(most, kLeastSlice) : 0;
  if (!cost_.is_known()) return std::clamp<int64_t>(kRowsWhileUnknown - prompt_rows, 0, most);
  const auto fits = [&](int64_t count) {
    StepShape shape = plan_.shape;
    const auto n = static_cast<double>(count);
    shape.rows += count;
    shape.attended += n * (static_cast<double>(first_position) + (n + 1) / 2);
    return cost_.predict_ms(shape) <= options_.target_step_ms;
  };
  int64_t low = 0;
  int64_t high = most;
  while (low < high) {
    const int64_t middle = low + (high - low + 1) / 2;
    if (fits(middle)) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return std::max(low, least);
}

// Gives the sequence every block it may write in this step: a new one past the end of its table, a private copy where
// a fork shares the block. False when the sequence itself had to go.
bool Scheduler::make_room(Sequence* sequence) {
  const int64_t num_new = blocks_for(sequence->num_tokens()) - static_cast<int64_t>(sequence->blocks.size());
  const auto first_written = static_cast<size_t>(sequence->num_computed_tokens / options_.block_size);
  // Asked anew after each preemption: the one that went may have been the other holder.
  const auto must_copy = [&] {
    return first_written < sequence->blocks.size() && blocks_.is_shared(sequence->blocks[first_written]);
  };
  while (blocks_.num_available() < num_new + (must_copy() ? 1 : 0)) {
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

void Scheduler::admit() {
  if (options_.static_batching != StaticBatching::kOff && !is_forming_) return;
  if (!options_.chunked_prefill && is_prefilling()) return;
  while (!waiting_.empty() && budget_ > 0) {
    Sequence* sequence = next_waiting();
    Hit hit = find_prefix(sequence);
    while (!is_admissible(*sequence, hit, slots_in_use())) {
      if (!yield_to(*sequence)) return;
      hit = find_prefix(sequence);
    }
    const bool is_swapped = !sequence->swap_slots.empty();
    const int64_t computed = is_swapped ? sequence->num_computed_tokens : hit.num_blocks * options_.block_size;
    if (slice(*sequence, computed) == 0) return;
    start(sequence, hit);
    if (!options_.chunked_prefill && sequence->num_uncomputed_tokens() > budget_) return;
  }
}

Sequence* Scheduler::next_waiting() const {
  if (options_.policy != SchedulingPolicy::kFair) return waiting_.front();
  return *std::min_element(waiting_.begin(), waiting_.end(), [this](const Sequence* a, const Sequence* b) {
    const double served_a = tenants_.at(a->tenant).served;
    const double served_b = tenants_.at(b->tenant).served;
    return served_a != served_b ? served_a < served_b : a->id < b->id;
  });
}

bool Scheduler::is_admissible(const Sequence& sequence, const Hit& hit, int64_t slots) const {
  if (slots + sequence.num_slots > options_.max_sequences) return false;
  const int64_t needed = blocks_for(sequence.num_tokens()) - hit.num_blocks;
  const int64_t available = blocks_.num_available() - hit.num_cached;
  // Alone a sequence always fits: it was refused at once otherwise.
  return needed + (running_.empty() ? 0 : reserve_for(sequence)) <= available;
}

// Room that must stay free for the growth of those who run, and of the candidate, so that it does not soon have to go
// again.
int64_t Scheduler::reserve_for(const Sequence& candidate) const {
  const int64_t growth = candidate.num_preemptions >= kPatience ? std::numeric_limits<int32_t>::max()
                                                                : int64_t{1} << (2 * candidate.num_preemptions);
  const auto wish = [&](const Sequence& sequence) {
    const int64_t end = std::max(sequence.max_tokens, sequence.num_tokens());
    return std::min(growth, blocks_for(end) - blocks_for(sequence.num_tokens())) * sequence.num_slots;
  };
  int64_t reserve = wish(candidate);
  for (const Sequence* sequence : running_) reserve += wish(*sequence);
  return reserve;
}

// The most urgent need not wait for those that can.
bool Scheduler::yield_to(const Sequence& urgent) {
  if (options_.policy != SchedulingPolicy::kPriority || running_.empty()) return false;
  if (running_.back()->priority <= urgent.priority) return false;
  preempt_last();
  return true;
}

void Scheduler::start(Sequence* sequence, const Hit& hit) {
  std::erase(waiting_, sequence);
  insert_running(sequence);
  if (!sequence->swap_slots.empty()) {
    swap_in(sequence);
  } else {
    extend_hashes(sequence, hit.num_blocks);
    for (int64_t i = 0; i < hit.num_blocks; ++i) {
      const auto tokens = std::span(sequence->tokens).subspan(i * options_.block_size, options_.block_size);
      const auto block = blocks_.find(sequence->hashes[i], sequence->hashes[i + 1], tokens);
      CHECK(block.has_value());
      blocks_.hold(*block);
      sequence->blocks.push_back(*block);
    }
    sequence->num_computed_tokens = hit.num_blocks * options_.block_size;
    sequence->num_published = hit.num_blocks;
    if (sequence->num_preemptions == 0) sequence->num_cached_tokens = sequence->num_computed_tokens;
  }
  take_blocks(sequence, blocks_for(sequence->num_tokens()) - static_cast<int64_t>(sequence->blocks.size()));
  add_item(sequence, slice(*sequence, sequence->num_computed_tokens));
}

void Scheduler::add_item(Sequence* sequence, int64_t num_tokens) {
  const StepPlan::Item item{sequence, num_tokens, num_tokens == sequence->num_uncomputed_tokens()};
  plan_.items.push_back(item);
  add_shape(plan_.shape, item, 1);
  budget_ -= num_tokens;
  if (sequence->needs_all_rows) logit_budget_ -= num_tokens - 1;
}

void Scheduler::commit() {
  for (const StepPlan::Item& item : plan_.items) {
    if (options_.policy == SchedulingPolicy::kFair) charge(item);
    item.sequence->num_computed_tokens += item.num_tokens;
    if (options_.prefix_caching) publish_full_blocks(item.sequence);
  }
  plan_.items.clear();
  plan_.moves.clear();
}

void Scheduler::charge(const StepPlan::Item& item) {
  const bool is_decode = item.samples && item.num_tokens == 1;
  tenants_.at(item.sequence->tenant).served += is_decode ? kDecodeWork : static_cast<double>(item.num_tokens);
}

void Scheduler::fork(Sequence* parent, Sequence* child) {
  CHECK(parent->state == SequenceState::kRunning && parent->num_slots > 1 && child->blocks.empty());
  const uint64_t id = child->id;
  *child = *parent;
  child->id = id;
  child->num_slots = 1;
  --parent->num_slots;
  for (const int32_t block : child->blocks) blocks_.hold(block);
  insert_running(child);
}

void Scheduler::finish(Sequence* sequence) {
  if (sequence->state == SequenceState::kFinished) return;
  leave_plan(sequence);
  release_blocks(sequence);
  release_swap(sequence);
  tenants_.at(sequence->tenant).num_sequences -= sequence->num_slots;
  sequence->state = SequenceState::kFinished;
  std::erase(running_, sequence);
  std::erase(waiting_, sequence);
}

int64_t Scheduler::slots_in_use() const {
  int64_t slots = 0;
  for (const Sequence* sequence : running_) slots += sequence->num_slots;
  return slots;
}

bool Scheduler::is_prefilling() const {
  return std::any_of(running_.begin(), running_.end(),
                     [](const Sequence* sequence) { return sequence->num_uncomputed_tokens() > 1; });
}

int64_t Scheduler::num_swapped() const {
  return std::count_if(waiting_.begin(), waiting_.end(),
                       [](const Sequence* sequence) { return !sequence->swap_slots.empty(); });
}

std::optional<StepPlan::Item> Scheduler::leave_plan(const Sequence* sequence) {
  const auto found = std::find_if(plan_.items.begin(), plan_.items.end(),
                                  [&](const StepPlan::Item& item) { return item.sequence == sequence; });
  if (found == plan_.items.end()) return std::nullopt;
  const StepPlan::Item item = *found;
  plan_.items.erase(found);
  return item;
}

void Scheduler::preempt_last() {
  Sequence* sequence = running_.back();
  running_.pop_back();
  if (const auto item = leave_plan(sequence)) {
    // It was planned before one that goes first ran out of room. Its moves stay: they are carried out in order, and
    // what they wrote is read or overwritten later.
    add_shape(plan_.shape, *item, -1);
    budget_ += item->num_tokens;
    if (sequence->needs_all_rows) logit_budget_ += item->num_tokens - 1;
  }
  if (should_swap(*sequence)) {
    swap_out(sequence);
  } else {
    sequence->num_computed_tokens = 0;
  }
  release_blocks(sequence);
  sequence->num_published = 0;
  sequence->state = SequenceState::kWaiting;
  ++sequence->num_preemptions;
  ++plan_.num_preempted;
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
  ++plan_.num_swapped_out;
}

void Scheduler::swap_in(Sequence* sequence) {
  take_blocks(sequence, static_cast<int64_t>(sequence->swap_slots.size()));
  for (size_t i = 0; i < sequence->swap_slots.size(); ++i) {
    plan_.moves.push_back({StepPlan::Move::Kind::kSwapIn, sequence->swap_slots[i], sequence->blocks[i]});
  }
  // Free at once: a slot that is given out again in this plan is written by a later move.
  release_swap(sequence);
}

void Scheduler::observe_step_ms(const StepShape& shape, double step_ms) {
  if (step_ms > 0 && shape.rows > 0) cost_.observe(shape, step_ms);
}

void Scheduler::observe_move_ms(double ms_per_block) { move_ms_ += 0.1 * (ms_per_block - move_ms_); }

void Scheduler::take_blocks(Sequence* sequence, int64_t num_blocks) {
  for (int64_t i = 0; i < num_blocks; ++i) {
    const auto block = blocks_.allocate();
    CHECK(block.has_value());
    sequence->blocks.push_back(*block);
  }
}

void Scheduler::release_blocks(Sequence* sequence) {
  // From the end: of a prefix that nobody uses any more the tail is forgotten first.
  for (size_t i = sequence->blocks.size(); i-- > 0;) blocks_.release(sequence->blocks[i]);
  sequence->blocks.clear();
}

void Scheduler::release_swap(Sequence* sequence) {
  free_swap_slots_.insert(free_swap_slots_.end(), sequence->swap_slots.begin(), sequence->swap_slots.end());
  sequence->swap_slots.clear();
}

void Scheduler::extend_hashes(Sequence* sequence, int64_t num_blocks) const {
  std::vector<PrefixHash>& hashes = sequence->hashes;
  if (hashes.empty()) hashes.push_back(prefix_root(options_.hash_key, sequence->cache_salt));
  while (static_cast<int64_t>(hashes.size()) <= num_blocks) {
    const int64_t first = (static_cast<int64_t>(hashes.size()) - 1) * options_.block_size;
    const auto tokens = std::span<const int32_t>(sequence->tokens).subspan(first, options_.block_size);
    DCHECK(tokens.back() != kTokenToCome);
    hashes.push_back(extend_prefix(options_.hash_key, hashes.back(), tokens));
  }
}

Scheduler::Hit Scheduler::find_prefix(Sequence* sequence) const {
  Hit hit;
  if (!may_use_cache(*sequence) || !sequence->swap_slots.empty()) return hit;
  // The last known token is always computed: its logits are wanted.
  const int64_t most = (sequence->num_tokens() - 1) / options_.block_size;
  for (; hit.num_blocks < most; ++hit.num_blocks) {
    const int64_t i = hit.num_blocks;
    extend_hashes(sequence, i + 1);
    const auto tokens =
        std::span<const int32_t>(sequence->tokens).subspan(i * options_.block_size, options_.block_size);
    const auto block = blocks_.find(sequence->hashes[i], sequence->hashes[i + 1], tokens);
    if (!block) break;
    hit.num_cached += blocks_.is_cached(*block) ? 1 : 0;
  }
  return hit;
}

void Scheduler::publish_full_blocks(Sequence* sequence) {
  const int64_t full = sequence->num_computed_tokens / options_.block_size;
  for (int64_t i = sequence->num_published; i < full; ++i) {
    extend_hashes(sequence, i + 1);
    const auto tokens =
        std::span<const int32_t>(sequence->tokens).subspan(i * options_.block_size, options_.block_size);
    blocks_.publish(sequence->blocks[i], sequence->hashes[i], sequence->hashes[i + 1], tokens);
  }
  sequence->num_published = std::max(sequence->num_published, full);
}

void Scheduler::check() const {
  blocks_.check();
  int64_t held = 0;
  for (const Sequence* sequence : running_) {
    CHECK(sequence->state == SequenceState::kRunning && sequence->swap_slots.empty());
    CHECK(blocks_for(sequence->num_computed_tokens) <= static_cast<int64_t>(sequence->blocks.size()));
    held += static_cast<int64_t>(sequence->blocks.size());
  }
  int64_t swapped = 0;
  for (const Sequence* sequence : waiting_) {
    CHECK(sequence->state == SequenceState::kWaiting && sequence->blocks.empty());
    CHECK(sequence->swap_slots.empty() == (sequence->num_computed_tokens == 0));
    swapped += static_cast<int64_t>(sequence->swap_slots.size());
  }
  CHECK(held == blocks_.num_references());
  CHECK(swapped + static_cast<int64_t>(free_swap_slots_.size()) == options_.num_swap_slots);
  CHECK(slots_in_use() <= options_.max_sequences);
}

}  // namespace quire
