#include "engine/scheduler.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <numeric>

#include "base/check.h"

namespace quire {
namespace {

// With an inter-token latency target: the tokens that one prompt gets in each step whatever the cost model predicts, so
// that it advances; and the tokens that all prompts together get until the cost model is fitted.
constexpr int64_t kMinPrefillSlice = 8;
constexpr int64_t kPrefillRowsBeforeFit = 32;
// A sequence that was preempted this often starts again only when the full growth of all running sequences has room, so
// that it is not preempted once more.
constexpr int64_t kPreemptionsUntilFullReserve = 3;
// The work of a generated token relative to a prompt token, as in the paper on the virtual token counter.
constexpr double kDecodeWork = 2.0;

double deadline_of(const Sequence* sequence) {
  return sequence->deadline_ms > 0 ? sequence->deadline_ms : std::numeric_limits<double>::infinity();
}

// Whether the next step of the sequence depends on pending tokens.
bool must_settle_first(const Sequence& sequence) {
  if (sequence.num_pending_tokens == 0) return false;
  return sequence.num_pending_drafts > 0 || sequence.awaits_tokens || sequence.num_choices > 1;
}

}  // namespace

void add_to_shape(StepShape& shape, const StepPlan::Item& item, int sign) {
  const auto n = static_cast<double>(item.num_tokens);
  shape.rows += sign * item.num_tokens;
  shape.sequences += sign * (item.samples ? 1 + item.num_drafts : 0);
  shape.attended += sign * n * (static_cast<double>(item.first_position) + (n + 1) / 2);
}

Scheduler::Scheduler(const SchedulerOptions& options)
    : options_(options),
      kv_({.block_size = options.block_size,
           .groups = options.kv_groups,
           .max_batch_tokens = options.max_batch_tokens,
           .eviction = options.eviction,
           .hash_key = options.hash_key}) {
  if (options_.max_logit_rows == 0) options_.max_logit_rows = options_.max_batch_tokens;
  CHECK(options.max_batch_tokens >= options.max_sequences && options.max_sequences > 0);
  CHECK(options_.max_logit_rows >= options_.max_sequences);
}

bool Scheduler::can_ever_fit(int64_t num_tokens, int num_choices) const {
  // One sequence must fit into the pools alone; forks can be preempted until one is left.
  return kv_.can_ever_hold(num_tokens) && num_choices <= options_.max_sequences;
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
  CHECK(sequence->state == SequenceState::kWaiting && sequence->kv.tables.empty() && !sequence->tokens.empty());
  if (passes_rope_switch(*sequence)) restart_as_long(*sequence);
  if (is_fair()) tenants_.arrive(sequence->tenant, sequence->num_choices);
  insert_waiting(sequence);
}

const StepPlan& Scheduler::plan() {
  CHECK(plan_.items.empty());
  plan_.moves.clear();
  plan_.shape = {};
  has_preempted_ = false;
  budget_ = options_.max_batch_tokens;
  logit_budget_ = options_.max_logit_rows - options_.max_sequences;
  branch_budget_ = options_.max_branches;
  separate_ending();
  restart_those_that_became_long();
  starts_static_batch_ = running_.empty();
  const bool prefill_first = options_.first_served == FirstServed::kPrefill || !options_.chunked_prefill;
  if (!prefill_first) plan_running(/*decodes=*/true);
  plan_running(/*decodes=*/false);
  if (!has_preempted_) admit();
  // Without chunked prefill, decodes run only in steps without prompts.
  if (prefill_first && (options_.chunked_prefill || plan_.items.empty())) plan_running(/*decodes=*/true);
  // Beams wait for each other: for those that have no room, the others give theirs.
  if (plan_.items.empty() && running_.empty() && !waiting_.empty() && release_parked()) admit();
  add_drafts();
  return plan_;
}

// Sequences whose last token is pending stop running now, so that others can take their place. Beams keep theirs: they
// are parked until those that they are compared with are as far.
void Scheduler::separate_ending() {
  const auto is_ending = [](const Sequence* sequence) {
    return sequence->num_pending_tokens > 0 && sequence->max_tokens > 0 &&
           sequence->num_tokens() >= sequence->max_tokens && sequence->num_choices == 1 && !sequence->is_beam;
  };
  const auto first = std::stable_partition(running_.begin(), running_.end(), std::not_fn(is_ending));
  for (auto at = first; at != running_.end(); ++at) {
    (*at)->state = SequenceState::kEnding;
    ending_.push_back(*at);
  }
  running_.erase(first, running_.end());
}

// Whether its next token sees other K and V than those that it has.
bool Scheduler::passes_rope_switch(const Sequence& sequence) const {
  const int64_t length = options_.rope_switch_length;
  return length > 0 && !sequence.is_long && sequence.num_tokens() > length;
}

void Scheduler::restart_as_long(Sequence& sequence) {
  kv_.release_host(sequence);
  sequence.is_long = true;
  sequence.kv.hashes.clear();
  sequence.drafts.clear();
  sequence.num_computed_tokens = sequence.num_settled_tokens = 0;
  ++sequence.num_restarts;
}

// Those that wait are looked at when it is their turn.
void Scheduler::restart_those_that_became_long() {
  for (Sequence* sequence : running_) {
    if (!passes_rope_switch(*sequence) || must_settle_first(*sequence)) continue;
    kv_.release(*sequence);
    restart_as_long(*sequence);
    kv_.start_from(*sequence, {});
    sequence->num_prefill_tokens = sequence->num_tokens();
  }
}

void Scheduler::plan_running(bool decodes) {
  // By index: preemption removes sequences from the end of running_ during the loop.
  for (size_t i = 0; i < running_.size() && budget_ > 0; ++i) {
    Sequence* sequence = running_[i];
    if (sequence->is_prefilling() == decodes || must_settle_first(*sequence)) continue;
    // A decoding sequence may have been started in this plan already, from swap space.
    if (std::ranges::find(plan_.items, sequence, &StepPlan::Item::sequence) != plan_.items.end()) continue;
    const int64_t num_tokens = decodes ? std::min(sequence->num_uncomputed_tokens(), budget_)
                                       : prefill_slice(*sequence, sequence->num_computed_tokens);
    if (num_tokens == 0) continue;
    if (!make_room(sequence, num_tokens)) return;  // the sequence itself was the last and was preempted
    add_item(sequence, num_tokens);
  }
}

// The number of prompt tokens for this step.
int64_t Scheduler::prefill_slice(const Sequence& sequence, int64_t num_computed) const {
  int64_t most = std::min(sequence.num_tokens() - num_computed, budget_);
  if (sequence.needs_all_rows) most = std::min(most, logit_budget_ + 1);
  return slice_within_target(num_computed, most);
}

int64_t Scheduler::slice_within_target(int64_t first_position, int64_t most) const {
  // Without decoding sequences no stream waits for the end of the step.
  if (options_.target_step_ms <= 0 || plan_.shape.sequences == 0 || !options_.chunked_prefill) return most;
  const int64_t prompt_rows = plan_.shape.rows - plan_.shape.sequences;
  const int64_t least = prompt_rows == 0 ? std::min(most, kMinPrefillSlice) : 0;
  if (!cost_.is_fitted()) return std::clamp<int64_t>(kPrefillRowsBeforeFit - prompt_rows, 0, most);
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

void Scheduler::admit() {
  if (options_.static_batching != StaticBatching::kOff && !starts_static_batch_) return;
  if (!options_.chunked_prefill && is_prefilling()) return;
  while (!waiting_.empty() && budget_ > 0) {
    Sequence* sequence = next_waiting();
    if (sequence == nullptr) return;
    if (sequence->num_pending_tokens > 0) return;  // preempted while a step chooses its next token
    if (passes_rope_switch(*sequence)) restart_as_long(*sequence);
    Start candidate = prepare_start(sequence);
    if (candidate.num_tokens == 0) return;
    // The beams that wait for this one hold what it needs, perhaps.
    if (sequence->is_beam && !is_admissible(*sequence, candidate, running_.size(), {}) && release_parked()) {
      candidate = prepare_start(sequence);
    }
    if (!is_admissible(*sequence, candidate, running_.size(), {})) {
      if (options_.policy != SchedulingPolicy::kPriority) return;
      // Preempt less urgent sequences, but only if the urgent one then has room.
      release_ending();
      candidate = prepare_start(sequence);
      const std::optional<size_t> num_kept = count_kept_running(*sequence, candidate);
      if (!num_kept) return;
      while (running_.size() > *num_kept) preempt_last();
      // Freed blocks may have lengthened the cached prefix, which may need more blocks of a window than were counted.
      candidate = prepare_start(sequence);
      if (!is_admissible(*sequence, candidate, running_.size(), {})) return;
    }
    start(sequence, candidate);
    if (!options_.chunked_prefill && sequence->num_uncomputed_tokens() > budget_) return;
  }
}

Scheduler::Start Scheduler::prepare_start(Sequence* sequence) const {
  Start candidate;
  if (sequence->kv.is_swapped()) {
    candidate.num_computed = sequence->num_computed_tokens;
  } else if (may_publish(*sequence) && !sequence->needs_all_rows) {
    // The last token is always computed, because its logits are needed.
    candidate.hit = kv_.find_prefix(*sequence, (sequence->num_tokens() - 1) / options_.block_size);
    candidate.num_computed = candidate.hit.num_blocks * options_.block_size;
  }
  candidate.num_tokens = prefill_slice(*sequence, candidate.num_computed);
  return candidate;
}

Sequence* Scheduler::next_waiting() const {
  if (!is_fair()) {
    const auto first = std::ranges::find(waiting_, false, &Sequence::awaits_blocks);
    return first == waiting_.end() ? nullptr : *first;
  }
  const auto least = std::min_element(waiting_.begin(), waiting_.end(), [this](const Sequence* a, const Sequence* b) {
    if (a->awaits_blocks != b->awaits_blocks) return b->awaits_blocks;
    const double served_a = tenants_.served(a->tenant);
    const double served_b = tenants_.served(b->tenant);
    return served_a != served_b ? served_a < served_b : a->id < b->id;
  });
  return (*least)->awaits_blocks ? nullptr : *least;
}

// Whether the sequence may start beside the first `num_running` running sequences, when preempting the others frees
// `freed` blocks that it does not share.
bool Scheduler::is_admissible(const Sequence& sequence, const Start& start, size_t num_running,
                              const Freed& freed) const {
  int64_t num_choices = sequence.num_choices + num_parked_with_blocks();
  for (size_t i = 0; i < num_running; ++i) num_choices += running_[i]->num_choices;
  if (num_choices > options_.max_sequences) return false;
  for (size_t g = 0; g < kv_.num_groups(); ++g) {
    const int64_t available =
        kv_.blocks(g).num_available() - kv_.num_cached(g, start.hit) + (freed.empty() ? 0 : freed[g]);
    // A sequence that runs alone always fits: otherwise it would have been refused at admission.
    const int64_t reserve = num_running == 0 ? 0 : reserved_blocks(g, sequence, num_running);
    if (needed_blocks(g, sequence, start) + reserve > available) return false;
  }
  return true;
}

// The blocks that the sequence needs for its first step and for its known tokens.
int64_t Scheduler::needed_blocks(size_t group, const Sequence& sequence, const Start& start) const {
  const int64_t at_first = kv_.num_blocks_to_start(group, sequence, start.hit, start.num_computed + start.num_tokens);
  return std::max(at_first, kv_.max_held_blocks(group, sequence.num_tokens()) - kv_.num_held(group, start.hit.tables));
}

// The blocks that must stay free for the growth of the running sequences and of the candidate, so that it is not
// preempted soon; in a group with a window also for the blocks that they hold during a step only.
int64_t Scheduler::reserved_blocks(size_t group, const Sequence& candidate, size_t num_running) const {
  const int64_t growth = candidate.num_preemptions >= kPreemptionsUntilFullReserve
                             ? std::numeric_limits<int32_t>::max()
                             : int64_t{1} << (2 * candidate.num_preemptions);
  const auto grows_by = [&](const Sequence& sequence) {
    const int64_t end = std::max(sequence.max_tokens, sequence.num_tokens());
    const int64_t more = kv_.max_held_blocks(group, end) - kv_.max_held_blocks(group, sequence.num_tokens());
    return std::min(growth, more) * sequence.num_choices;
  };
  int64_t reserve = grows_by(candidate);
  int64_t in_step = kv_.max_extra_step_blocks(group, candidate.num_tokens());
  for (size_t i = 0; i < num_running; ++i) {
    reserve += grows_by(*running_[i]) + kv_.num_not_yet_held(group, *running_[i]);
    in_step += kv_.max_extra_step_blocks(group, running_[i]->num_tokens());
  }
  return reserve + std::min(in_step, kv_.max_step_blocks());
}

// How many running sequences stay when less urgent ones are preempted for `urgent`; nothing when it has no room even
// then.
std::optional<size_t> Scheduler::count_kept_running(const Sequence& urgent, const Start& start) const {
  if (is_admissible(urgent, start, running_.size(), {})) return running_.size();
  std::vector<std::unordered_map<int32_t, int64_t>> released(kv_.num_groups());  // by block: holders that would release
  Freed freed(kv_.num_groups(), 0);
  for (size_t g = 0; g < start.hit.tables.size(); ++g) {
    // The urgent sequence uses these blocks itself, so they never count as freed.
    for (const int32_t block : start.hit.tables[g]) released[g][block] = std::numeric_limits<int32_t>::min();
  }
  for (size_t kept = running_.size(); kept > 0 && running_[kept - 1]->priority > urgent.priority;) {
    const std::vector<BlockTable>& tables = running_[--kept]->kv.tables;
    for (size_t g = 0; g < tables.size(); ++g) {
      for (const int32_t block : tables[g]) {
        if (block != kNoBlock && ++released[g][block] == kv_.blocks(g).num_holders(block)) ++freed[g];
      }
    }
    if (is_admissible(urgent, start, kept, freed)) return kept;
  }
  return std::nullopt;
}

void Scheduler::start(Sequence* sequence, const Start& start) {
  std::erase(waiting_, sequence);
  insert_running(sequence);
  if (sequence->kv.is_swapped()) {
    kv_.swap_in(*sequence, plan_.moves);
  } else {
    kv_.start_from(*sequence, start.hit);
    sequence->num_prefill_tokens = sequence->num_tokens();
    sequence->num_computed_tokens = sequence->num_settled_tokens = start.num_computed;
    if (sequence->num_preemptions == 0) sequence->num_cached_tokens = sequence->num_computed_tokens;
  }
  kv_.cover(*sequence, start.num_computed + start.num_tokens);
  add_item(sequence, start.num_tokens);
}

void Scheduler::add_item(Sequence* sequence, int64_t num_tokens) {
  const StepPlan::Item item{.sequence = sequence,
                            .first_position = sequence->num_computed_tokens,
                            .num_tokens = num_tokens,
                            .samples = num_tokens == sequence->num_uncomputed_tokens(),
                            .num_restarts = sequence->num_restarts};
  plan_.items.push_back(item);
  add_to_shape(plan_.shape, item);
  budget_ -= num_tokens;
  if (sequence->needs_all_rows) logit_budget_ -= num_tokens - 1;
}

// For a preempted sequence that was planned already. Its moves stay in the plan: moves run in order, and a later move
// or step overwrites what they write.
void Scheduler::remove_from_plan(const Sequence* sequence) {
  const auto found = std::ranges::find(plan_.items, sequence, &StepPlan::Item::sequence);
  if (found == plan_.items.end()) return;
  add_to_shape(plan_.shape, *found, -1);
  budget_ += found->num_tokens;
  if (sequence->needs_all_rows) logit_budget_ += found->num_tokens - 1;
  plan_.items.erase(found);
}

// Drafts come last: they take what sequences and prompts leave of the step, and no sequence is preempted for them.
void Scheduler::add_drafts() {
  for (StepPlan::Item& item : plan_.items) {
    if (item.sequence->drafts.empty() || !item.samples || item.sequence->is_prefilling()) continue;
    const int64_t num_drafts = plan_drafts(item.sequence);
    if (num_drafts == 0) continue;
    const std::vector<KvBranch>& branches = item.sequence->kv.branches;
    add_to_shape(plan_.shape, item, -1);
    item.num_tokens += num_drafts;
    item.num_drafts = num_drafts;
    item.num_on_trunk = branches.empty() ? num_drafts : branches[0].first_draft;
    add_to_shape(plan_.shape, item);
    budget_ -= num_drafts;
    logit_budget_ -= num_drafts;
    branch_budget_ -= std::ssize(branches);
  }
}

void Scheduler::begin() {
  for (const StepPlan::Item& item : plan_.items) {
    Sequence& sequence = *item.sequence;
    const bool is_decode = item.samples && item.num_tokens == 1 + item.num_drafts;
    if (is_fair()) tenants_.charge(sequence.tenant, is_decode ? kDecodeWork : static_cast<double>(item.num_tokens));
    sequence.num_computed_tokens += item.num_positions();
    sequence.num_pending_tokens += item.samples ? 1 : 0;
    sequence.num_pending_drafts = item.num_drafts;
  }
  plan_.items.clear();
}

void Scheduler::settle(const StepPlan::Item& item, std::span<const int32_t> tokens) {
  settle_tokens(item, tokens);
  if (item.samples && item.sequence->is_beam) park(item.sequence);
}

void Scheduler::settle_tokens(const StepPlan::Item& item, std::span<const int32_t> tokens) {
  Sequence& sequence = *item.sequence;
  const int64_t num_accepted = std::max<int64_t>(static_cast<int64_t>(tokens.size()) - 1, 0);
  CHECK(num_accepted <= item.num_drafts && (item.samples || tokens.empty()));
  const int64_t num_kept = keep_accepted(sequence, item, tokens.first(static_cast<size_t>(num_accepted)));
  if (item.samples) {
    // The chosen tokens replace the pending one; an item with drafts has exactly one pending token.
    sequence.tokens.insert(sequence.tokens.end(), tokens.begin(), tokens.end());
    --sequence.num_pending_tokens;
    sequence.num_pending_drafts = 0;
    sequence.drafts.clear();
    sequence.needs_all_rows = false;
    if (is_fair()) tenants_.charge(sequence.tenant, kDecodeWork * static_cast<double>(num_accepted));
  }
  if (item.num_restarts != sequence.num_restarts) return;  // its K and V were dropped since
  const int64_t end = item.first_position + item.num_tokens - item.num_drafts + num_kept;
  sequence.num_settled_tokens = end;
  if (num_kept < item.num_drafts) roll_back(&sequence, end);
  if (!sequence.kv.tables.empty() && may_publish(sequence)) kv_.publish(sequence);
}

void Scheduler::fork(Sequence* parent, Sequence* child, int32_t token) {
  CHECK(parent->num_choices > 1 && parent->num_pending_tokens == 0 && child->kv.tables.empty());
  const uint64_t id = child->id;
  *child = *parent;
  child->id = id;
  child->num_choices = 1;
  child->tokens.back() = token;
  --parent->num_choices;
  if (parent->state == SequenceState::kRunning) {
    kv_.share(*parent, *child);
    return insert_running(child);
  }
  child->kv.host_tables.clear();
  child->num_computed_tokens = child->num_settled_tokens = 0;
  insert_waiting(child);
}

void Scheduler::finish(Sequence* sequence) {
  if (sequence->state == SequenceState::kFinished) return;
  kv_.release(*sequence);
  kv_.release_host(*sequence);
  if (is_fair()) tenants_.leave(sequence->tenant, sequence->num_choices);
  sequence->state = SequenceState::kFinished;
  std::erase(running_, sequence);
  std::erase(waiting_, sequence);
  std::erase(parked_, sequence);
  std::erase(ending_, sequence);
}

int64_t Scheduler::num_choices_running() const {
  return std::accumulate(running_.begin(), running_.end(), int64_t{0},
                         [](int64_t sum, const Sequence* sequence) { return sum + sequence->num_choices; });
}

bool Scheduler::is_prefilling() const { return std::ranges::any_of(running_, &Sequence::is_prefilling); }

int64_t Scheduler::num_swapped() const {
  return std::count_if(waiting_.begin(), waiting_.end(),
                       [](const Sequence* sequence) { return sequence->kv.is_swapped(); });
}

void Scheduler::observe_step_ms(const StepShape& shape, double step_ms) {
  if (step_ms > 0 && shape.rows > 0) cost_.observe(shape, step_ms);
}

void Scheduler::observe_move_ms(double ms_per_block) { move_ms_ += 0.1 * (ms_per_block - move_ms_); }

}  // namespace quire
