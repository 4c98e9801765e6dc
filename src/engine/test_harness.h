// A fake engine and model for tests of the scheduler and the step loop.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "engine/step_loop.h"

namespace quire::test {

inline constexpr int64_t kBlock = 4;

// A model whose KV cache stores the token of each position, so that a wrong block table, a missed copy or a use after
// free is read as a wrong token.
class Harness : public Executor {
 public:
  explicit Harness(const SchedulerOptions& limits, int max_in_flight = 1)
      : scheduler(limits), loop(scheduler, *this, max_in_flight) {
    for (const KvGroupOptions& group : limits.kv_groups) {
      windows.push_back(group.window);
      cache.emplace_back(group.num_blocks * kBlock, -1);
      swap.emplace_back(group.num_host_blocks * kBlock, -1);
    }
  }

  struct NewSequence {
    int64_t num_prompt = 0;
    int64_t max_length = 0;
    int num_choices = 1;
    int64_t num_shared = 0;  // leading tokens that all such prompts have in common
    int32_t priority = 0;
    std::string tenant = {};
    std::string salt = {};
    double deadline_ms = 0;
    bool shares_cache = true;
    bool awaits_tokens = false;
  };

  Sequence* add(const NewSequence& wanted) {
    auto sequence = std::make_unique<Sequence>();
    sequence->id = next_id;
    next_id += static_cast<uint64_t>(wanted.num_choices);
    for (int64_t i = 0; i < wanted.num_prompt; ++i) {
      sequence->tokens.push_back(i < wanted.num_shared ? static_cast<int32_t>(i)
                                                       : static_cast<int32_t>(random() % 1000));
    }
    sequence->num_prompt_tokens = wanted.num_prompt;
    sequence->max_tokens = wanted.max_length;
    sequence->num_choices = wanted.num_choices;
    sequence->priority = wanted.priority;
    sequence->tenant = wanted.tenant;
    sequence->cache_salt = wanted.salt;
    sequence->deadline_ms = wanted.deadline_ms;
    sequence->shares_cache = wanted.shares_cache;
    sequence->awaits_tokens = wanted.awaits_tokens;
    Sequence* raw = sequence.get();
    owned.push_back(std::move(sequence));
    scheduler.add(raw);
    return raw;
  }
  Sequence* add(int64_t num_prompt, int64_t max_length, int num_choices = 1) {
    return add({.num_prompt = num_prompt, .max_length = max_length, .num_choices = num_choices});
  }

  // Returns the number of items that settled.
  size_t step() {
    const StartedStep* step = loop.step();
    scheduler.check();
    items.clear();
    if (step == nullptr) return 0;
    items = step->items;
    for (const StepPlan::Item& item : items) {
      if (item.sequence != nullptr && item.samples) finish_if_at_end(item.sequence);
    }
    for (const StepResults::Fork& fork : loop.results().forks) finish_if_at_end(fork.child);
    scheduler.check();
    return items.size();
  }

  void move(std::span<const StepPlan::Move> moves) override {
    for (const StepPlan::Move& move : moves) {
      const auto at = [&](const KvPlace& place) {
        auto& tier = (place.tier == KvTier::kPool ? cache : swap)[static_cast<size_t>(move.blocks.group)];
        return tier.begin() + place.index * kBlock;
      };
      std::copy_n(at(move.blocks.from), kBlock, at(move.blocks.to));
      num_swapped += move.is_swap() ? 1 : 0;
      last_mark = move.mark;
    }
  }
  // The last num_incomplete_moves moves are still running, as between slow tiers.
  uint64_t completed_moves() const override {
    completed = std::max(completed, last_mark - std::min<uint64_t>(last_mark, num_incomplete_moves));
    return completed;
  }

  void start(std::span<const StepPlan::Item> planned) override {
    if (starts_until_failure >= 0 && starts_until_failure-- == 0) fail(ErrorCode::kIo, "a start that fails");
    scheduler.check();
    std::set<std::pair<size_t, int64_t>> written;  // group and slot
    int64_t num_tokens = 0;
    Started started;
    for (const StepPlan::Item& item : planned) {
      num_tokens += item.num_tokens;
      for (size_t g = 0; g < cache.size(); ++g) {
        for (int64_t p = item.first_position; p < item.first_position + item.num_positions(); ++p) {
          EXPECT_TRUE(written.emplace(g, slot(g, *item.sequence, p)).second) << "two sequences write one slot";
          cache[g][slot(g, *item.sequence, p)] = token_at(item, p);
        }
        write_branches(g, *item.sequence, written);
      }
      add_to_shape(started.shape, item);
    }
    for (const StepPlan::Item& item : planned) {
      for (size_t g = 0; g < cache.size(); ++g) {
        const int64_t first = windows[g] == 0 ? 0 : std::max<int64_t>(0, item.first_position - windows[g] + 1);
        for (int64_t p = first; p < item.first_position + item.num_positions(); ++p) {
          ASSERT_NE(item.sequence->kv.tables[g][p / kBlock], kNoBlock) << "given back too early: position " << p;
          ASSERT_EQ(cache[g][slot(g, *item.sequence, p)], token_at(item, p)) << "position " << p << " of group " << g;
        }
        verify_branches(g, item, first);
      }
      started.tokens.push_back(item.samples ? choose(item) : std::vector<int32_t>{});
    }
    max_step_tokens = std::max(max_step_tokens, num_tokens);
    in_flight.push_back(std::move(started));
  }

  // Each branch in its own blocks, with what its first block has before it.
  void write_branches(size_t g, const Sequence& sequence, std::set<std::pair<size_t, int64_t>>& written) {
    const std::vector<KvBranch>& branches = sequence.kv.branches;
    for (int32_t b = 0; b < std::ssize(branches); ++b) {
      const KvBranch& branch = branches[static_cast<size_t>(b)];
      const int64_t block_begin = branch.first_position / kBlock * kBlock;
      for (int64_t p = block_begin; p < branch.first_position + branch.num_drafts; ++p) {
        EXPECT_TRUE(written.emplace(g, slot(g, sequence, p, b)).second) << "a branch writes what others write";
        cache[g][slot(g, sequence, p, b)] =
            p < branch.first_position
                ? cache[g][slot(g, sequence, p, branch.parent)]
                : sequence.drafts.tokens[static_cast<size_t>(branch.first_draft + p - branch.first_position)];
      }
    }
  }

  // Every draft sees the known tokens from `first` on and those that it follows.
  void verify_branches(size_t g, const StepPlan::Item& item, int64_t first) const {
    const Sequence& sequence = *item.sequence;
    if (sequence.kv.branches.empty()) return;
    const int64_t first_draft = item.first_position + item.num_tokens - item.num_drafts;
    for (int32_t draft = 0; draft < item.num_drafts; ++draft) {
      const int32_t branch = sequence.kv.branch_of(draft);
      int64_t p = first_draft + sequence.drafts.depth_of(draft) - 1;
      for (int32_t node = draft; node >= 0; node = sequence.drafts.parent_of(static_cast<size_t>(node)), --p) {
        ASSERT_EQ(cache[g][slot(g, sequence, p, branch)], sequence.drafts.tokens[static_cast<size_t>(node)]);
      }
      for (; p >= first; --p) ASSERT_EQ(cache[g][slot(g, sequence, p, branch)], token_at(item, p));
    }
  }

  bool may_start_ahead() const override { return true; }

  void finish(std::span<const StepPlan::Item> planned, StepResults& results) override {
    if (finishes_until_failure >= 0 && finishes_until_failure-- == 0) fail(ErrorCode::kIo, "a finish that fails");
    settled = std::move(in_flight.front());
    in_flight.pop_front();
    results.step_ms = cost_ms ? cost_ms(settled.shape) : 0.0;
    for (size_t i = 0; i < planned.size(); ++i) {
      if (planned[i].sequence == nullptr) continue;
      results.tokens[i] = settled.tokens[i];
      if (!planned[i].samples) continue;
      std::deque<int32_t>& chosen = in_flight_tokens[planned[i].sequence];
      if (!chosen.empty()) chosen.pop_front();
      for (int left = planned[i].sequence->num_choices - 1; left > 0; --left) {
        auto child = std::make_unique<Sequence>();
        child->id = planned[i].sequence->id + static_cast<uint64_t>(left);
        results.forks.push_back({i, child.get(), random_token()});
        owned.push_back(std::move(child));
      }
    }
  }

  // A random one of the drafts and those that it follows are right, or none.
  std::vector<int32_t> choose(const StepPlan::Item& item) {
    const auto num_choices = static_cast<uint64_t>(item.num_drafts + 1);
    auto draft = static_cast<int32_t>(random() % num_choices) - 1;
    std::vector<int32_t> tokens = {random_token()};
    for (; draft >= 0; draft = item.sequence->drafts.parent_of(static_cast<size_t>(draft))) {
      tokens.insert(tokens.begin(), item.sequence->drafts.tokens[static_cast<size_t>(draft)]);
      num_accepted_on_branches += draft >= item.num_on_trunk ? 1 : 0;
    }
    num_accepted += std::ssize(tokens) - 1;
    num_rejected += item.num_drafts + 1 - std::ssize(tokens);
    if (item.num_drafts == 0) in_flight_tokens[item.sequence].push_back(tokens[0]);
    return tokens;
  }

  int32_t token_at(const StepPlan::Item& item, int64_t position) const {
    const Sequence& sequence = *item.sequence;
    const int64_t first_draft = item.first_position + item.num_tokens - item.num_drafts;
    if (position >= first_draft) return sequence.drafts.tokens[position - first_draft];
    const int64_t num_known = sequence.num_known_tokens();
    return position < num_known ? sequence.tokens[position] : in_flight_tokens.at(&sequence)[position - num_known];
  }

  void finish_if_at_end(Sequence* sequence) {
    if (sequence->num_known_tokens() >= sequence->max_tokens) loop.finish(sequence);
  }

  // Sets random drafts for every sequence that may have drafts: a chain, or a tree.
  void propose(int64_t num_drafts, bool trees = false) {
    for (const auto& sequence : owned) {
      if (sequence->num_pending_tokens > 0 || sequence->state != SequenceState::kRunning) continue;
      Drafts& drafts = sequence->drafts;
      drafts.clear();
      std::vector<int32_t> path = {-1};
      for (int64_t i = 0; i < num_drafts; ++i) {
        if (trees && random() % 3 == 0) path.resize(1 + random() % path.size());
        // Siblings are distinct.
        drafts.tokens.push_back(trees ? 1000 + static_cast<int32_t>(i) : random_token());
        if (trees) drafts.parents.push_back(path.back());
        path.push_back(static_cast<int32_t>(i));
      }
    }
  }

  std::vector<Sequence*> abandon() {
    in_flight.clear();
    return loop.abandon();
  }

  int32_t random_token() { return static_cast<int32_t>(random() % 1000); }
  static int64_t slot(size_t group, const Sequence& sequence, int64_t p, int32_t branch = -1) {
    return sequence.kv.block_of(group, p, kBlock, branch) * kBlock + p % kBlock;
  }

  struct Started {
    std::vector<std::vector<int32_t>> tokens;  // by item
    StepShape shape;
  };
  std::mt19937_64 random{7};
  Scheduler scheduler;
  StepLoop loop;
  std::vector<int64_t> windows;             // by KV group
  std::vector<std::vector<int32_t>> cache;  // by KV group: the token that was written at each slot
  std::vector<std::vector<int32_t>> swap;   // by KV group: the same of the host tier
  uint64_t last_mark = 0;
  uint64_t num_incomplete_moves = 0;
  mutable uint64_t completed = 0;
  std::vector<StepPlan::Item> items;  // of the last step
  std::deque<Started> in_flight;
  Started settled;
  std::map<const Sequence*, std::deque<int32_t>> in_flight_tokens;
  std::function<double(const StepShape&)> cost_ms;
  std::vector<std::unique_ptr<Sequence>> owned;
  int64_t num_swapped = 0;
  // After this many calls one throws; negative: none throws.
  int starts_until_failure = -1;
  int finishes_until_failure = -1;
  int64_t num_accepted = 0;
  int64_t num_rejected = 0;
  int64_t num_accepted_on_branches = 0;
  uint64_t next_id = 0;
  int64_t max_step_tokens = 0;
};

inline Sequence sequence_of(uint64_t id, int64_t num_tokens, int64_t max_tokens, int32_t first_token = 0) {
  Sequence sequence;
  sequence.id = id;
  for (int64_t i = 0; i < num_tokens; ++i) sequence.tokens.push_back(first_token + static_cast<int32_t>(i));
  sequence.num_prompt_tokens = num_tokens;
  sequence.max_tokens = max_tokens;
  return sequence;
}

// Plans and begins a step; returns its items.
inline std::vector<StepPlan::Item> plan_and_begin(Scheduler& scheduler) {
  std::vector<StepPlan::Item> items = scheduler.plan().items;
  scheduler.begin();
  scheduler.check();
  return items;
}

}  // namespace quire::test
