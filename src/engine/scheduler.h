// Decides, step by step, who runs and how many tokens: continuous batching with chunked prefill under a token budget
// and an inter-token latency target, prefix caching, policies, preemption by recompute or swap.
//
// A pure object: no randomness, no model, time only as an argument; the engine (or the simulator) tells it what
// happened. Engine thread only. Rules:
// - A sequence gets blocks for all tokens it knows when it is admitted, and one block at a time while it decodes.
// - When no block is left, the running sequence that comes last in order gives up its blocks and waits again, so the
//   first always advances. The more often a sequence was preempted, the more room must be free before it is admitted.
// - A waiting sequence holds no block.
// - Steps happen in the order of their plans, so a step may be planned while the one before it still runs: what that
//   one does to a block comes before what this one does, whoever has it then.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/block_manager.h"
#include "engine/cost_model.h"
#include "engine/sequence.h"

namespace quire {

// Who comes first. Fair: the tenant that was served least, by tokens of work (virtual token counter, arXiv 2401.00588).
enum class SchedulingPolicy : uint8_t { kFcfs, kPriority, kFair, kDeadline };
// What a step is filled with first: running decodes (steady streams), or prompts (time to first token).
enum class FirstServed : uint8_t { kDecode, kPrefill };
// Baselines to measure continuous batching against. Refilled: a batch is formed when the last one has ended. Padded:
// finished sequences also keep computing until the longest of their batch ends (the engine's part).
enum class StaticBatching : uint8_t { kOff, kRefilled, kPadded };
enum class Preemption : uint8_t { kRecompute, kSwap, kCheapest };

// Names as written on the command line; throw Error kInvalidArgument listing the choices.
SchedulingPolicy parse_scheduling_policy(std::string_view name);
StaticBatching parse_static_batching(std::string_view name);
Preemption parse_preemption(std::string_view name);

struct SchedulerOptions {
  int64_t block_size = 32;
  int64_t num_blocks = 0;
  int64_t max_batch_tokens = 512;
  int64_t max_sequences = 16;
  int64_t max_logit_rows = 0;  // 0: max_batch_tokens
  SchedulingPolicy policy = SchedulingPolicy::kFcfs;
  FirstServed first_served = FirstServed::kDecode;
  bool chunked_prefill = true;  // off: a prompt runs whole, in a step of its own kind
  // A step that decodes is meant to take no longer; prefill slices are cut to it. 0: the token budget alone.
  double target_step_ms = 0.0;
  bool prefix_caching = true;
  HashKey hash_key = {};  // secret, random per process
  StaticBatching static_batching = StaticBatching::kOff;
  Preemption preemption = Preemption::kCheapest;
  int64_t num_swap_slots = 0;  // blocks of swap space
};

struct StepPlan {
  struct Item {
    Sequence* sequence = nullptr;
    int64_t num_tokens = 0;  // tokens[num_computed, num_computed + num_tokens)
    bool samples = false;    // the last known token is among them: its logits give the next one
  };
  // To be carried out before the step, in order.
  struct Move {
    enum class Kind : uint8_t { kCopy, kSwapOut, kSwapIn } kind;
    int32_t from = 0;  // a block; of kSwapIn a swap slot
    int32_t to = 0;    // a block; of kSwapOut a swap slot
  };
  std::vector<Item> items;
  std::vector<Move> moves;
  StepShape shape;
  int64_t num_preempted = 0;
  int64_t num_swapped_out = 0;
};

class Scheduler {
 public:
  explicit Scheduler(const SchedulerOptions& options);

  // Whether a sequence that may grow to num_tokens can ever run.
  bool can_ever_fit(int64_t num_tokens, int num_slots) const;
  void add(Sequence* sequence);
  // The next step; empty when nobody can run. The previous plan must have been committed.
  const StepPlan& plan();
  // The planned tokens are computed, or will be before those that are planned next; the caller then appends a token to
  // each sampled sequence (kTokenToCome before it is known) or finishes it.
  void commit();
  // `child` becomes a running copy of a running `parent`, sharing its blocks; uses one of the parent's slots.
  void fork(Sequence* parent, Sequence* child);
  // Ends a sequence in any state and frees its blocks. It leaves the plan if it was in it.
  void finish(Sequence* sequence);
  // What a step of this shape took, as measured.
  void observe_step_ms(const StepShape& shape, double step_ms);
  // What moving one block to or from swap space takes, as measured.
  void observe_move_ms(double ms_per_block);

  const SchedulerOptions& options() const { return options_; }
  int64_t num_waiting() const { return static_cast<int64_t>(waiting_.size()); }
  int64_t num_swapped() const;  // of the waiting, those in swap space
  int64_t num_running() const { return static_cast<int64_t>(running_.size()); }
  const BlockManager& blocks() const { return blocks_; }
  BlockManager& blocks() { return blocks_; }
  const CostModel& cost() const { return cost_; }
  // Invariants of block ownership; for tests, the simulator and idle moments.
  void check() const;

 private:
  struct Hit {
    int64_t num_blocks = 0;
    int64_t num_cached = 0;  // of them held by nobody, which count as available until taken
  };

  int64_t blocks_for(int64_t num_tokens) const { return (num_tokens + options_.block_size - 1) / options_.block_size; }
  int64_t slots_in_use() const;
  bool comes_before(const Sequence* a, const Sequence* b) const;
  void insert_waiting(Sequence* sequence);
  void insert_running(Sequence* sequence);

  void plan_running(bool decodes);
  void admit();
  Sequence* next_waiting() const;
  bool is_admissible(const Sequence& sequence, const Hit& hit, int64_t slots) const;
  int64_t reserve_for(const Sequence& candidate) const;
  bool yield_to(const Sequence& urgent);
  void start(Sequence* sequence, const Hit& hit);
  int64_t slice(const Sequence& sequence, int64_t num_computed) const;
  int64_t slice_within_target(int64_t first_position, int64_t most) const;
  bool is_prefilling() const;
  bool make_room(Sequence* sequence);
  void add_item(Sequence* sequence, int64_t num_tokens);

  std::optional<StepPlan::Item> leave_plan(const Sequence* sequence);
  void preempt_last();
  bool should_swap(const Sequence& sequence) const;
  void swap_out(Sequence* sequence);
  void swap_in(Sequence* sequence);
  void take_blocks(Sequence* sequence, int64_t num_blocks);
  void release_blocks(Sequence* sequence);
  void release_swap(Sequence* sequence);

  bool may_use_cache(const Sequence& sequence) const { return options_.prefix_caching && !sequence.needs_all_rows; }
  void extend_hashes(Sequence* sequence, int64_t num_blocks) const;
  Hit find_prefix(Sequence* sequence) const;  // nothing for a sequence in swap space
  void publish_full_blocks(Sequence* sequence);
  void charge(const StepPlan::Item& item);

  SchedulerOptions options_;
  BlockManager blocks_;
  CostModel cost_;
  std::deque<Sequence*> waiting_;   // in order
  std::vector<Sequence*> running_;  // in order
  std::vector<int32_t> free_swap_slots_;
  struct Tenant {
    double served = 0.0;  // tokens of work
    int64_t num_sequences = 0;
  };
  std::unordered_map<std::string, Tenant> tenants_;
  double move_ms_ = 0.02;
  StepPlan plan_;
  int64_t budget_ = 0;        // tokens left in the step
  int64_t logit_budget_ = 0;  // rows with logits left beyond one for each sequence
  bool is_forming_ = false;   // static batching: this plan starts a batch
};

}  // namespace quire
