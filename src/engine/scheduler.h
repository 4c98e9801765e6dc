// Decides, step by step, who runs and how many tokens: continuous batching with chunked prefill, first come first
// served.
//
// A pure object: no clock, no randomness, no model; the engine (or a simulator) tells it what happened. Engine thread
// only. Rules: decodes go before prefill chunks; a sequence gets blocks for all tokens it knows when it is admitted and
// one block at a time while it decodes; when none is free the youngest running sequence gives up its blocks and waits
// at the head of the queue to be computed again, so the oldest always advances; a waiting sequence holds nothing.
#pragma once

#include <cstdint>
#include <deque>
#include <utility>
#include <vector>

#include "engine/block_manager.h"
#include "engine/sequence.h"

namespace quire {

struct SchedulerOptions {
  int64_t block_size = 32;
  int64_t num_blocks = 0;
  int64_t max_batch_tokens = 512;
  int64_t max_sequences = 16;
};

struct StepPlan {
  struct Item {
    Sequence* sequence = nullptr;
    int64_t num_tokens = 0;  // tokens[num_computed, num_computed + num_tokens)
    bool samples = false;    // the last known token is among them: its logits give the next one
  };
  std::vector<Item> items;
  std::vector<std::pair<int32_t, int32_t>> copies;  // blocks to copy (from, to) before the step
  int64_t num_preempted = 0;
};

class Scheduler {
 public:
  explicit Scheduler(const SchedulerOptions& options);

  // Whether a sequence that may grow to num_tokens can ever run.
  bool can_ever_fit(int64_t num_tokens, int num_slots) const;
  void add(Sequence* sequence);
  // The next step; empty when nobody can run. The previous plan must have been committed.
  const StepPlan& plan();
  // The planned tokens were computed; the caller then appends a token to each sampled sequence or finishes it.
  void commit();
  // `child` becomes a running copy of a running `parent`, sharing its blocks; uses one of the parent's slots.
  void fork(Sequence* parent, Sequence* child);
  // Ends a sequence in any state and frees its blocks; not between plan and commit.
  void finish(Sequence* sequence);

  int64_t num_waiting() const { return static_cast<int64_t>(waiting_.size()); }
  int64_t num_running() const { return static_cast<int64_t>(running_.size()); }
  const BlockManager& blocks() const { return blocks_; }
  // Invariants of block ownership; for tests, the simulator and idle moments.
  void check() const;

 private:
  int64_t blocks_for(int64_t num_tokens) const { return (num_tokens + options_.block_size - 1) / options_.block_size; }
  int64_t slots_in_use() const;
  void plan_running(bool decodes);
  void admit();
  bool make_room(Sequence* sequence);
  bool is_planned(const Sequence* sequence) const;
  void preempt_youngest();
  void take_blocks(Sequence* sequence, int64_t num_blocks);
  void release_blocks(Sequence* sequence);
  void add_item(Sequence* sequence, int64_t num_tokens);

  SchedulerOptions options_;
  BlockManager blocks_;
  std::deque<Sequence*> waiting_;   // by id
  std::vector<Sequence*> running_;  // by id
  StepPlan plan_;
  int64_t budget_ = 0;
};

}  // namespace quire
