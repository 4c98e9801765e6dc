// Decides for each step which sequences run and how many tokens of each: continuous batching with chunked prefill under
// a token budget and an inter-token latency target, drafts, prefix caching, policies, preemption by recompute or swap.
//
// It uses no random numbers and no model, and gets times as arguments only. StepLoop executes its plans and tells it
// the results. Engine thread only. Rules:
// - A sequence gets blocks for all its known tokens when it is admitted, and one block at a time while it decodes; in
//   KV groups with a window, it gets blocks for the tokens of each step (kv_manager.h).
// - When no block is left, the running sequence that comes last in order loses its blocks and waits again, so the first
//   always advances. The more often a sequence was preempted, the more blocks must be free before it is admitted again.
// - A waiting sequence holds no block.
// - Beams are sequences that choose no token themselves. A parked one loses its blocks before a running sequence does,
//   and when no other sequence could run: so the beams of one search need not fit into the pools together.
// - A sequence that grows longer than the RoPE switch is computed again from its beginning, as a prompt is, and keeps
//   its place.
// - Steps run in the order of their plans, so a step may be planned while earlier ones still run: they read and write a
//   block before this step does, even if the block belongs to another sequence by then.
// - When a step begins, its positions count as computed and the tokens that it will choose as pending. When it settles,
//   drafts that were wrong are rolled back, and blocks full of known tokens are published to the prefix cache.
// - The first path of a tree of drafts is computed into the sequence's own blocks, other paths into branches
//   (kv_branches.cpp). When the step settles, the blocks of the path that holds become the sequence's. A sequence that
//   is preempted before loses its branches; what holds of the first path stays computed.
//
// Example: "a b c" is known, "a b" is computed, and the drafts are "d x". plan() returns {first_position 2, num_tokens
// 3, num_drafts 2}; after begin() 5 tokens are computed and 1 is pending; settle({d, e}) makes it "a b c d e" with 4
// computed: the K and V of x are dropped, and e is the token to compute next.
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

// The order of sequences. kFair: the tenant that was served least comes first, by tokens of work (tenant_shares.h).
enum class SchedulingPolicy : uint8_t { kFcfs, kPriority, kFair, kDeadline };
// What a step is filled with first: running decodes (steady streams), or prompts (time to first token).
enum class FirstServed : uint8_t { kDecode, kPrefill };
// A baseline to compare continuous batching with. kRefilled: a new batch starts when the last one has ended.
enum class StaticBatching : uint8_t { kOff, kRefilled };
enum class Preemption : uint8_t { kRecompute, kSwap, kCheapest };

// Parse the names that the command line uses; throw Error kInvalidArgument with the list of names.
SchedulingPolicy parse_scheduling_policy(std::string_view name);
StaticBatching parse_static_batching(std::string_view name);
Preemption parse_preemption(std::string_view name);
Eviction parse_eviction(std::string_view name);

struct SchedulerOptions {
  int64_t block_size = 32;
  std::vector<KvGroupOptions> kv_groups = {};  // the longest reach first
  int64_t max_batch_tokens = 512;
  int64_t max_sequences = 16;
  int64_t max_logit_rows = 0;  // 0: max_batch_tokens
  int64_t max_branches = 0;    // of all trees of drafts of a step; 0: of a tree, only the trunk is computed
  SchedulingPolicy policy = SchedulingPolicy::kFcfs;
  FirstServed first_served = FirstServed::kDecode;
  bool chunked_prefill = true;  // off: prompts and decodes run in separate steps
  // The target time of a step that decodes: prefill slices are cut to keep it. 0: only the token budget limits them.
  double target_step_ms = 0.0;
  bool prefix_caching = true;
  Eviction eviction = Eviction::kLru;
  HashKey hash_key = random_hash_key();  // secret
  // > 0: a sequence that grows longer than this has other K and V from then on, at all its positions
  // (ModelInfo::rope_switch_length).
  int64_t rope_switch_length = 0;
  StaticBatching static_batching = StaticBatching::kOff;
  Preemption preemption = Preemption::kCheapest;
};

class Scheduler {
 public:
  explicit Scheduler(const SchedulerOptions& options);

  // Whether a sequence that may grow to num_tokens can ever run.
  bool can_ever_fit(int64_t num_tokens, int num_choices) const;
  void add(Sequence* sequence);
  // Plans the next step; the plan has no items when no sequence can run. The previous plan must have begun, or have had
  // no items.
  const StepPlan& plan();
  // The step that was planned last begins: its items count as computed and the tokens that they choose as pending.
  void begin();
  // Reports the tokens that an item of the oldest step in flight chose: the accepted drafts and one more token, fewer
  // when one of them ends the sequence, none when the item does not sample. An item that samples and chose no token
  // must be followed by finish().
  void settle(const StepPlan::Item& item, std::span<const int32_t> tokens);
  // Makes `child` a copy of `parent`, which has just settled its first token and has choices left; `token` replaces
  // that first token. The child shares the parent's blocks, or waits if the parent waits.
  void fork(Sequence* parent, Sequence* child, int32_t token);
  // A beam whose step has settled is parked: it keeps its place and its blocks until others need these. `token` follows
  // its tokens; then it goes on.
  void resume(Sequence* sequence, int32_t token);
  // Makes `child` a copy of a parked beam that goes on with `token`. It shares the parent's blocks, or waits.
  void branch(Sequence* parent, Sequence* child, int32_t token);
  // Ends a sequence in any state and frees its blocks.
  void finish(Sequence* sequence);
  // Reports the measured time of a step of this shape.
  void observe_step_ms(const StepShape& shape, double step_ms);
  // Reports the measured time of moving one block to or from swap space.
  void observe_move_ms(double ms_per_block);
  // All moves up to this mark are complete: the places that they read may be used again.
  void complete_moves(uint64_t mark) { kv_.complete_moves(mark); }

  const SchedulerOptions& options() const { return options_; }
  int64_t num_waiting() const { return static_cast<int64_t>(waiting_.size()); }
  int64_t num_swapped() const;  // waiting sequences in swap space
  int64_t num_running() const { return static_cast<int64_t>(running_.size()); }
  int64_t num_preemptions() const { return num_preemptions_; }  // since the start
  int64_t num_swaps() const { return num_swaps_; }              // preemptions that moved KV instead of dropping it
  const std::deque<Sequence*>& waiting() const { return waiting_; }
  const std::vector<Sequence*>& running() const { return running_; }
  const KvManager& kv() const { return kv_; }
  KvManager& kv() { return kv_; }
  // Group 0 reaches furthest.
  const BlockManager& blocks(size_t group = 0) const { return kv_.blocks(group); }
  const CostModel& cost() const { return cost_; }
  // CHECKs the invariants of block ownership; for tests, the simulator and idle moments.
  void check() const;

 private:
  // How a waiting sequence would start: from a cached prefix or from swap space, and with how many tokens in its first
  // step; 0 when the step has no room.
  struct Start {
    PrefixHit hit;
    int64_t num_computed = 0;
    int64_t num_tokens = 0;
  };
  // By group: the number of blocks that preempted sequences would free.
  using Freed = std::vector<int64_t>;

  int64_t num_choices_running() const;
  int64_t num_parked_with_blocks() const;
  bool comes_before(const Sequence* a, const Sequence* b) const;
  void insert_waiting(Sequence* sequence);
  void insert_running(Sequence* sequence);

  // Planning.
  void separate_ending();
  bool passes_rope_switch(const Sequence& sequence) const;
  void restart_as_long(Sequence& sequence);
  void restart_those_that_became_long();
  void plan_running(bool decodes);
  void admit();
  Sequence* next_waiting() const;  // null when all await their blocks
  Start prepare_start(Sequence* sequence) const;
  bool is_admissible(const Sequence& sequence, const Start& start, size_t num_running, const Freed& freed) const;
  int64_t needed_blocks(size_t group, const Sequence& sequence, const Start& start) const;
  int64_t reserved_blocks(size_t group, const Sequence& candidate, size_t num_running) const;
  std::optional<size_t> count_kept_running(const Sequence& urgent, const Start& start) const;
  void start(Sequence* sequence, const Start& start);
  int64_t prefill_slice(const Sequence& sequence, int64_t num_computed) const;
  int64_t slice_within_target(int64_t first_position, int64_t most) const;
  bool is_prefilling() const;
  bool make_room(Sequence* sequence, int64_t num_tokens);
  void add_item(Sequence* sequence, int64_t num_tokens);
  void remove_from_plan(const Sequence* sequence);
  void add_drafts();
  int64_t plan_drafts(Sequence* sequence);

  // Preemption and roll-back.
  void preempt_last();
  bool should_swap(const Sequence& sequence) const;
  int64_t keep_accepted(Sequence& sequence, const StepPlan::Item& item, std::span<const int32_t> accepted);
  void roll_back(Sequence* sequence, int64_t num_computed);
  bool release_ending();
  void settle_tokens(const StepPlan::Item& item, std::span<const int32_t> tokens);

  // Beams (scheduler_beams.cpp).
  void park(Sequence* sequence);
  void forget_computed(Sequence& sequence);
  bool release_parked();

  // The prefix cache.
  bool may_publish(const Sequence& sequence) const { return options_.prefix_caching && sequence.shares_cache; }

  bool is_fair() const { return options_.policy == SchedulingPolicy::kFair; }

  SchedulerOptions options_;
  KvManager kv_;
  CostModel cost_;
  std::deque<Sequence*> waiting_;   // in order
  std::vector<Sequence*> running_;  // in order
  std::vector<Sequence*> parked_;   // beams
  std::vector<Sequence*> ending_;   // they hold blocks until they have settled, or until others need these blocks
  TenantShares tenants_;
  double move_ms_ = 0.02;
  int64_t num_preemptions_ = 0;
  int64_t num_swaps_ = 0;
  StepPlan plan_;
  bool has_preempted_ = false;        // in this plan
  int64_t budget_ = 0;                // tokens left in the step
  int64_t logit_budget_ = 0;          // rows with logits left, beyond one for each sequence
  int64_t branch_budget_ = 0;         // branches left
  bool starts_static_batch_ = false;  // static batching: this plan starts a batch
};

}  // namespace quire
