// Decides, step by step, who runs and how many tokens: continuous batching with chunked prefill under a token budget
// and an inter-token latency target, drafts, prefix caching, policies, preemption by recompute or swap.
//
// A pure object: no randomness, no model, time only as an argument; StepLoop carries its plans out and tells it what
// came of them. Engine thread only. Rules:
// - A sequence gets blocks for all tokens it knows when it is admitted, and one block at a time while it decodes; of KV
//   groups with a window, for the tokens of each step (kv_manager.h).
// - When no block is left, the running sequence that comes last in order gives up its blocks and waits again, so the
//   first always advances. The more often a sequence was preempted, the more room must be free before it is admitted.
// - A waiting sequence holds no block.
// - Steps happen in the order of their plans, so a step may be planned while those before it still run: what they do to
//   a block comes before what this one does, whichever sequence has it then.
// - Of a step that has begun, its positions count as computed and its next tokens as promised. When it settles, drafts
//   that were wrong are rolled back, and blocks full of known tokens are offered to the prefix cache.
//
// Example: "a b c" is known and computed up to c, the drafts are "d x". plan() gives {first_position 2, num_tokens 3,
// num_drafts 2}; begin() makes it 5 computed, 1 promised; settle({d, e}) makes it "a b c d e" with 4 computed: the K
// and V of x go, e is the token to compute next.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "engine/cost_model.h"
#include "engine/kv_manager.h"
#include "engine/sequence.h"
#include "engine/step_plan.h"
#include "engine/tenant_shares.h"

namespace quire {

// Who comes first. Fair: the tenant that was served least, by tokens of work (tenant_shares.h).
enum class SchedulingPolicy : uint8_t { kFcfs, kPriority, kFair, kDeadline };
// What a step is filled with first: running decodes (steady streams), or prompts (time to first token).
enum class FirstServed : uint8_t { kDecode, kPrefill };
// A baseline to measure continuous batching against. Refilled: a batch is formed when the last one has ended.
enum class StaticBatching : uint8_t { kOff, kRefilled };
enum class Preemption : uint8_t { kRecompute, kSwap, kCheapest };

// Names as written on the command line; throw Error kInvalidArgument listing the choices.
SchedulingPolicy parse_scheduling_policy(std::string_view name);
StaticBatching parse_static_batching(std::string_view name);
Preemption parse_preemption(std::string_view name);
Eviction parse_eviction(std::string_view name);

struct SchedulerOptions {
  int64_t block_size = 32;
  std::vector<KvGroupOptions> kv_groups = {};  // those that reach furthest first
  int64_t max_batch_tokens = 512;
  int64_t max_sequences = 16;
  int64_t max_logit_rows = 0;  // 0: max_batch_tokens
  SchedulingPolicy policy = SchedulingPolicy::kFcfs;
  FirstServed first_served = FirstServed::kDecode;
  bool chunked_prefill = true;  // off: a prompt runs whole, in a step of its own kind
  // A step that decodes is meant to take no longer; prefill slices are cut to it. 0: the token budget alone.
  double target_step_ms = 0.0;
  bool prefix_caching = true;
  Eviction eviction = Eviction::kLru;
  HashKey hash_key = random_hash_key();  // secret
  StaticBatching static_batching = StaticBatching::kOff;
  Preemption preemption = Preemption::kCheapest;
};

class Scheduler {
 public:
  explicit Scheduler(const SchedulerOptions& options);

  // Whether a sequence that may grow to num_tokens can ever run.
  bool can_ever_fit(int64_t num_tokens, int num_choices) const;
  void add(Sequence* sequence);
  // The next step; without items when nobody can run. The previous plan must have begun, or have had no items.
  const StepPlan& plan();
  // The step that was planned last has started: its items count as computed, their next tokens as promised.
  void begin();
  // What became of an item of a step that began, oldest step first: the tokens that it chose. They are accepted drafts
  // and one more, fewer when the sequence ends by one of them; none where it samples nothing. An item that samples and
  // gives none must be followed by finish().
  void settle(const StepPlan::Item& item, std::span<const int32_t> tokens);
  // `child` becomes a copy of `parent`, which has just settled its first token and has choices left; it gets `token` in
  // that one's place. It shares the parent's blocks, or waits if the parent does.
  void fork(Sequence* parent, Sequence* child, int32_t token);
  // Ends a sequence in any state and frees its blocks.
  void finish(Sequence* sequence);
  // What a step of this shape took, as measured.
  void observe_step_ms(const StepShape& shape, double step_ms);
  // What moving one block to or from swap space takes, as measured.
  void observe_move_ms(double ms_per_block);
  // All moves up to this mark are complete: what they read may be used for others.
  void complete_moves(uint64_t mark) { kv_.complete_moves(mark); }

  const SchedulerOptions& options() const { return options_; }
  int64_t num_waiting() const { return static_cast<int64_t>(waiting_.size()); }
  int64_t num_swapped() const;  // of the waiting, those in swap space
  int64_t num_running() const { return static_cast<int64_t>(running_.size()); }
  int64_t num_preemptions() const { return num_preemptions_; }  // since the start
  int64_t num_swaps() const { return num_swaps_; }              // of them, those that moved KV instead of dropping it
  const std::deque<Sequence*>& waiting() const { return waiting_; }
  const std::vector<Sequence*>& running() const { return running_; }
  const KvManager& kv() const { return kv_; }
  const BlockManager& blocks() const { return kv_.blocks(0); }  // of the group that reaches furthest
  const CostModel& cost() const { return cost_; }
  // Invariants of block ownership; for tests, the simulator and idle moments.
  void check() const;

 private:
  // What a waiting sequence would start with: a known prefix or what lies in swap space, and the tokens of its first
  // step; no tokens when there is no room in the step.
  struct Start {
    PrefixHit hit;
    int64_t num_computed = 0;
    int64_t num_tokens = 0;
  };
  // Blocks of every group that preempted sequences would free.
  using Freed = std::vector<int64_t>;

  int64_t num_choices_running() const;
  bool comes_before(const Sequence* a, const Sequence* b) const;
  void insert_waiting(Sequence* sequence);
  void insert_running(Sequence* sequence);

  // plan: who runs.
  void set_ending_apart();
  void plan_running(bool decodes);
  void admit();
  Sequence* next_waiting() const;
  Start prepare(Sequence* sequence) const;
  bool is_admissible(const Sequence& sequence, const Start& start, size_t num_running, const Freed& freed) const;
  int64_t needed_blocks(size_t group, const Sequence& sequence, const Start& start) const;
  int64_t reserve_for(size_t group, const Sequence& candidate, size_t num_running) const;
  std::optional<size_t> count_yielding(const Sequence& urgent, const Start& start) const;
  void start(Sequence* sequence, const Start& start);
  int64_t slice(const Sequence& sequence, int64_t num_computed) const;
  int64_t slice_within_target(int64_t first_position, int64_t most) const;
  bool is_prefilling() const;
  bool make_room(Sequence* sequence, int64_t num_tokens);
  int64_t take_drafts(Sequence* sequence);
  void add_item(Sequence* sequence, int64_t num_tokens, int64_t num_drafts);
  void leave_plan(const Sequence* sequence);

  // Who must go.
  void preempt_last();
  bool should_swap(const Sequence& sequence) const;
  void roll_back(Sequence* sequence, int64_t num_computed);
  bool release_ending();

  // The prefix cache.
  bool may_publish(const Sequence& sequence) const { return options_.prefix_caching && sequence.shares_cache; }

  bool is_fair() const { return options_.policy == SchedulingPolicy::kFair; }

  SchedulerOptions options_;
  KvManager kv_;
  CostModel cost_;
  std::deque<Sequence*> waiting_;   // in order
  std::vector<Sequence*> running_;  // in order
  std::vector<Sequence*> ending_;   // they hold blocks until they have settled, or until somebody needs them
  TenantShares tenants_;
  double move_ms_ = 0.02;
  int64_t num_preemptions_ = 0;
  int64_t num_swaps_ = 0;
  StepPlan plan_;
  bool has_preempted_ = false;  // in this plan
  int64_t budget_ = 0;          // tokens left in the step
  int64_t draft_budget_ = 0;    // of them for drafts: what running sequences cannot need
  int64_t logit_budget_ = 0;    // rows with logits left beyond one for each sequence
  bool is_forming_ = false;     // static batching: this plan starts a batch
};

}  // namespace quire
