#include "engine/scheduler.h"

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <random>
#include <set>

namespace quire {
namespace {

constexpr int64_t kBlock = 4;

// Plays the engine and a model whose KV cache remembers what was written where, so that a wrong block table, a missed
// copy or a use after free is seen as a wrong token.
class Harness {
 public:
  explicit Harness(const SchedulerOptions& limits)
      : scheduler(limits), cache(limits.num_blocks * limits.block_size, -1) {}

  Sequence* add(int64_t num_prompt, int64_t max_length, int num_slots = 1) {
    auto sequence = std::make_unique<Sequence>();
    sequence->id = next_id;
    next_id += static_cast<uint64_t>(num_slots);
    for (int64_t i = 0; i < num_prompt; ++i) sequence->tokens.push_back(static_cast<int32_t>(random() % 1000));
    sequence->num_prompt_tokens = num_prompt;
    sequence->num_slots = num_slots;
    Sequence* raw = sequence.get();
    max_lengths[raw] = max_length;
    owned.push_back(std::move(sequence));
    scheduler.add(raw);
    return raw;
  }

  // Returns the number of items run.
  size_t step() {
    const StepPlan& plan = scheduler.plan();
    scheduler.check();
    for (const auto& [from, to] : plan.copies) {
      for (int64_t i = 0; i < kBlock; ++i) cache[to * kBlock + i] = cache[from * kBlock + i];
    }
    std::set<int64_t> written;
    int64_t num_tokens = 0;
    for (const StepPlan::Item& item : plan.items) {
      const Sequence& sequence = *item.sequence;
      num_tokens += item.num_tokens;
      for (int64_t p = sequence.num_computed_tokens; p < sequence.num_computed_tokens + item.num_tokens; ++p) {
        const int64_t slot = sequence.blocks[p / kBlock] * kBlock + p % kBlock;
        EXPECT_TRUE(written.insert(slot).second) << "two sequences write one slot";
        cache[slot] = sequence.tokens[p];
      }
    }
    for (const StepPlan::Item& item : plan.items) verify_cache(*item.sequence, item.num_tokens);
    const auto items = plan.items;
    most_tokens = std::max(most_tokens, num_tokens);
    scheduler.commit();
    for (const auto& item : items) {
      if (item.samples) sampled(item.sequence);
    }
    scheduler.check();
    return items.size();
  }

  void sampled(Sequence* sequence) {
    while (sequence->num_slots > 1) {
      auto child = std::make_unique<Sequence>();
      child->id = sequence->id + static_cast<uint64_t>(sequence->num_slots) - 1;
      scheduler.fork(sequence, child.get());
      max_lengths[child.get()] = max_lengths[sequence];
      owned.push_back(std::move(child));
      append(owned.back().get());
    }
    append(sequence);
  }

  void append(Sequence* sequence) {
    sequence->tokens.push_back(static_cast<int32_t>(random() % 1000));
    if (sequence->num_tokens() >= max_lengths[sequence]) scheduler.finish(sequence);
  }

  void verify_cache(const Sequence& sequence, int64_t num_tokens) {
    for (int64_t p = 0; p < sequence.num_computed_tokens + num_tokens; ++p) {
      ASSERT_EQ(cache[sequence.blocks[p / kBlock] * kBlock + p % kBlock], sequence.tokens[p]) << "position " << p;
    }
  }

  std::mt19937_64 random{7};
  Scheduler scheduler;
  std::vector<int32_t> cache;
  std::vector<std::unique_ptr<Sequence>> owned;
  std::map<const Sequence*, int64_t> max_lengths;
  uint64_t next_id = 0;
  int64_t most_tokens = 0;
};

TEST(Scheduler, ChunksAPromptAndMixesItWithDecodes) {
  Harness harness({.block_size = kBlock, .num_blocks = 64, .max_batch_tokens = 8, .max_sequences = 4});
  Sequence* first = harness.add(3, 100);
  harness.step();
  Sequence* longer = harness.add(30, 40);
  int64_t before = first->num_tokens();
  int steps = 0;
  while (longer->num_tokens() == 30) {
    EXPECT_EQ(harness.step(), 2u);
    EXPECT_EQ(first->num_tokens(), ++before) << "the decode must advance in every step";
    ++steps;
  }
  EXPECT_EQ(steps, 5);  // 30 tokens, 7 a step beside the decode
  EXPECT_LE(harness.most_tokens, 8);
}

TEST(Scheduler, ForksShareBlocksAndCopyOnWrite) {
  Harness harness({.block_size = kBlock, .num_blocks = 64, .max_batch_tokens = 64, .max_sequences = 8});
  harness.add(10, 20, 4);
  harness.step();
  EXPECT_EQ(harness.scheduler.num_running(), 4);
  EXPECT_EQ(harness.scheduler.blocks().num_active(), 3);  // one prompt of 10 tokens, whoever shares it
  harness.step();
  EXPECT_EQ(harness.scheduler.blocks().num_active(), 2 + 4);  // two full blocks shared, four tails
  while (harness.step() > 0) {
  }
  EXPECT_EQ(harness.scheduler.blocks().num_free(), 64);
}

TEST(Scheduler, PreemptsTheYoungestAndFinishesEverybody) {
  Harness harness({.block_size = kBlock, .num_blocks = 12, .max_batch_tokens = 16, .max_sequences = 4});
  for (int i = 0; i < 4; ++i) harness.add(8, 40);
  int steps = 0;
  while (harness.step() > 0) ASSERT_LT(++steps, 1000);
  int64_t preemptions = 0;
  for (const auto& sequence : harness.owned) {
    EXPECT_EQ(sequence->num_tokens(), 40);
    preemptions += sequence->num_preemptions;
  }
  EXPECT_GT(preemptions, 0);
  EXPECT_EQ(harness.owned[0]->num_preemptions, 0) << "the oldest must never lose its blocks";
  EXPECT_EQ(harness.scheduler.blocks().num_free(), 12);
}

TEST(Scheduler, KnowsWhatCanNeverFit) {
  const Scheduler scheduler({.block_size = kBlock, .num_blocks = 4, .max_batch_tokens = 8, .max_sequences = 2});
  EXPECT_TRUE(scheduler.can_ever_fit(16, 1));
  EXPECT_FALSE(scheduler.can_ever_fit(17, 1));
  EXPECT_FALSE(scheduler.can_ever_fit(4, 3));
}

// Random arrivals, forks and cancellations under block shortage; check() and the cache model see every step.
TEST(Scheduler, SeededStormKeepsTheInvariantsAndProgresses) {
  for (uint64_t seed = 0; seed < 60; ++seed) {
    std::mt19937_64 random(seed);
    const auto below = [&](uint64_t n) { return static_cast<int64_t>(random() % n); };
    const int64_t num_blocks = 6 + below(30);
    const int64_t max_sequences = 1 + below(8);
    Harness harness({.block_size = kBlock,
                     .num_blocks = num_blocks,
                     .max_batch_tokens = max_sequences + below(20),
                     .max_sequences = max_sequences});
    for (int event = 0; event < 300; ++event) {
      if (below(3) == 0) {
        const int64_t length = 2 + below(static_cast<uint64_t>(num_blocks * kBlock - 1));
        const int slots = static_cast<int>(1 + below(static_cast<uint64_t>(std::min<int64_t>(3, max_sequences))));
        harness.add(1 + below(static_cast<uint64_t>(length - 1)), length, slots);
      }
      if (!harness.owned.empty() && below(10) == 0) {
        Sequence* victim = harness.owned[static_cast<size_t>(below(harness.owned.size()))].get();
        if (victim->state != SequenceState::kFinished) harness.scheduler.finish(victim);
      }
      harness.step();
      if (HasFatalFailure()) return;
    }
    int idle = 0;
    while (harness.step() > 0) ASSERT_LT(++idle, 100000) << "seed " << seed;
    EXPECT_EQ(harness.scheduler.num_waiting(), 0) << "seed " << seed << ": nothing runs, somebody waits";
    EXPECT_EQ(harness.scheduler.blocks().num_free(), num_blocks) << "seed " << seed;
  }
}

}  // namespace
}  // namespace quire
