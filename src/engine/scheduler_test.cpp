#include "engine/scheduler.h"

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <random>
#include <set>

#include "base/error.h"

namespace quire {
namespace {

constexpr int64_t kBlock = 4;

// Plays the engine and a model whose KV cache remembers what was written where, so that a wrong block table, a missed
// copy or a use after free is seen as a wrong token.
class Harness {
 public:
  explicit Harness(const SchedulerOptions& limits)
      : scheduler(limits),
        cache(limits.num_blocks * limits.block_size, -1),
        swap(limits.num_swap_slots * limits.block_size, -1) {}

  struct Ask {
    int64_t num_prompt = 0;
    int64_t max_length = 0;
    int num_slots = 1;
    int64_t num_shared = 0;  // leading tokens that all such prompts have in common
    int32_t priority = 0;
    std::string tenant = {};
    std::string salt = {};
    double deadline_ms = 0;
  };

  Sequence* add(const Ask& ask) {
    auto sequence = std::make_unique<Sequence>();
    sequence->id = next_id;
    next_id += static_cast<uint64_t>(ask.num_slots);
    for (int64_t i = 0; i < ask.num_prompt; ++i) {
      sequence->tokens.push_back(i < ask.num_shared ? static_cast<int32_t>(i) : static_cast<int32_t>(random() % 1000));
    }
    sequence->num_prompt_tokens = ask.num_prompt;
    sequence->max_tokens = ask.max_length;
    sequence->num_slots = ask.num_slots;
    sequence->priority = ask.priority;
    sequence->tenant = ask.tenant;
    sequence->cache_salt = ask.salt;
    sequence->deadline_ms = ask.deadline_ms;
    Sequence* raw = sequence.get();
    owned.push_back(std::move(sequence));
    scheduler.add(raw);
    return raw;
  }
  Sequence* add(int64_t num_prompt, int64_t max_length, int num_slots = 1) {
    return add({.num_prompt = num_prompt, .max_length = max_length, .num_slots = num_slots});
  }

  // Returns the number of items run.
  size_t step() {
    const StepPlan& plan = scheduler.plan();
    scheduler.check();
    for (const StepPlan::Move& move : plan.moves) {
      using enum StepPlan::Move::Kind;
      const auto& source = move.kind == kSwapIn ? swap : cache;
      auto& target = move.kind == kSwapOut ? swap : cache;
      for (int64_t i = 0; i < kBlock; ++i) target[move.to * kBlock + i] = source[move.from * kBlock + i];
      num_swapped += move.kind == kCopy ? 0 : 1;
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
    items = plan.items;
    most_tokens = std::max(most_tokens, num_tokens);
    scheduler.commit();
    if (cost_ms) scheduler.observe_step_ms(plan.shape, cost_ms(plan.shape));
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
      owned.push_back(std::move(child));
      append(owned.back().get());
    }
    append(sequence);
  }

  void append(Sequence* sequence) {
    sequence->tokens.push_back(static_cast<int32_t>(random() % 1000));
    if (sequence->num_tokens() >= sequence->max_tokens) scheduler.finish(sequence);
  }

  void verify_cache(const Sequence& sequence, int64_t num_tokens) {
    for (int64_t p = 0; p < sequence.num_computed_tokens + num_tokens; ++p) {
      ASSERT_EQ(cache[sequence.blocks[p / kBlock] * kBlock + p % kBlock], sequence.tokens[p]) << "position " << p;
    }
  }

  std::mt19937_64 random{7};
  Scheduler scheduler;
  std::vector<int32_t> cache;
  std::vector<int32_t> swap;
  std::vector<StepPlan::Item> items;  // of the last step
  std::function<double(const StepShape&)> cost_ms;
  std::vector<std::unique_ptr<Sequence>> owned;
  int64_t num_swapped = 0;
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
  EXPECT_EQ(harness.scheduler.blocks().num_available(), 64);
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
  EXPECT_EQ(harness.scheduler.blocks().num_available(), 12);
}

TEST(Scheduler, KnowsWhatCanNeverFit) {
  const Scheduler scheduler({.block_size = kBlock, .num_blocks = 4, .max_batch_tokens = 8, .max_sequences = 2});
  EXPECT_TRUE(scheduler.can_ever_fit(16, 1));
  EXPECT_FALSE(scheduler.can_ever_fit(17, 1));
  EXPECT_FALSE(scheduler.can_ever_fit(4, 3));
}

TEST(Scheduler, AKnownPrefixIsNotComputedAgain) {
  Harness harness({.block_size = kBlock, .num_blocks = 64, .max_batch_tokens = 64, .max_sequences = 8});
  harness.add({.num_prompt = 18, .max_length = 24, .num_shared = 16});
  harness.step();
  const Sequence* active = harness.add({.num_prompt = 18, .max_length = 24, .num_shared = 16});
  harness.step();
  EXPECT_EQ(active->num_cached_tokens, 16) << "from a sequence that still runs";
  while (harness.step() > 0) {
  }
  const Sequence* later = harness.add({.num_prompt = 16, .max_length = 24, .num_shared = 16});
  harness.step();
  EXPECT_EQ(later->num_cached_tokens, 12) << "the block of the last token is computed: its logits are wanted";
  const Sequence* stranger = harness.add({.num_prompt = 18, .max_length = 24, .num_shared = 16, .salt = "other"});
  harness.step();
  EXPECT_EQ(stranger->num_cached_tokens, 0) << "another salt shares nothing";
  while (harness.step() > 0) {
  }
  EXPECT_GT(harness.scheduler.blocks().num_cached(), 0);
  EXPECT_EQ(harness.scheduler.blocks().num_active(), 0);
}

TEST(Scheduler, TheLeastRecentlyUsedPrefixGoesFirst) {
  Harness harness({.block_size = kBlock, .num_blocks = 12, .max_batch_tokens = 64, .max_sequences = 1});
  const auto run = [&](const char* salt) {
    Sequence* sequence = harness.add({.num_prompt = 17, .max_length = 18, .num_shared = 17, .salt = salt});
    while (harness.step() > 0) {
    }
    return sequence->num_cached_tokens;
  };
  run("a");  // four full blocks each
  run("b");
  EXPECT_EQ(run("a"), 16);
  run("c");  // needs five: the last of b's
  EXPECT_EQ(run("a"), 16);
  EXPECT_LT(run("b"), 16);
}

TEST(Scheduler, SwapKeepsWhatWasComputed) {
  Harness harness({.block_size = kBlock,
                   .num_blocks = 12,
                   .max_batch_tokens = 16,
                   .max_sequences = 4,
                   .preemption = Preemption::kSwap,
                   .num_swap_slots = 16});
  for (int i = 0; i < 4; ++i) harness.add(8, 40);
  int steps = 0;
  while (harness.step() > 0) ASSERT_LT(++steps, 1000);
  EXPECT_GT(harness.num_swapped, 0);
  for (const auto& sequence : harness.owned) EXPECT_EQ(sequence->num_tokens(), 40);
}

TEST(Scheduler, UrgentGoesFirstAndTakesTheSlotOfALesserOne) {
  Harness harness({.block_size = kBlock,
                   .num_blocks = 64,
                   .max_batch_tokens = 16,
                   .max_sequences = 2,
                   .policy = SchedulingPolicy::kPriority});
  for (int i = 0; i < 6; ++i) harness.add({.num_prompt = 4, .max_length = 60, .priority = 5});
  for (int i = 0; i < 3; ++i) harness.step();
  const Sequence* urgent = harness.add({.num_prompt = 4, .max_length = 8, .priority = -1});
  harness.step();
  EXPECT_EQ(urgent->num_tokens(), 5) << "its first token comes from the next step";
  while (harness.step() > 0) {
  }
  for (const auto& sequence : harness.owned) EXPECT_EQ(sequence->num_tokens(), sequence->max_tokens);
}

TEST(Scheduler, AFloodOfOneTenantLeavesOthersTheirShare) {
  Harness harness({.block_size = kBlock,
                   .num_blocks = 256,
                   .max_batch_tokens = 32,
                   .max_sequences = 4,
                   .policy = SchedulingPolicy::kFair});
  for (int i = 0; i < 200; ++i) harness.add({.num_prompt = 8, .max_length = 16, .tenant = "flood"});
  for (int i = 0; i < 20; ++i) harness.step();
  for (int i = 0; i < 20; ++i) harness.add({.num_prompt = 8, .max_length = 16, .tenant = "quiet"});
  std::map<std::string, int64_t> work;
  while (harness.scheduler.num_waiting() > 120) {
    harness.step();
    for (const StepPlan::Item& item : harness.items) work[item.sequence->tenant] += item.num_tokens;
    if (harness.owned.back()->state == SequenceState::kFinished) break;
  }
  EXPECT_EQ(harness.owned.back()->state, SequenceState::kFinished);
  EXPECT_GT(work["quiet"], work["flood"] * 9 / 10);
}

TEST(Scheduler, TheEarliestDeadlineRunsFirst) {
  Harness harness({.block_size = kBlock,
                   .num_blocks = 64,
                   .max_batch_tokens = 16,
                   .max_sequences = 1,
                   .policy = SchedulingPolicy::kDeadline});
  harness.add({.num_prompt = 4, .max_length = 8, .deadline_ms = 50});
  harness.step();
  const Sequence* none = harness.add(4, 8);
  const Sequence* late = harness.add({.num_prompt = 4, .max_length = 8, .deadline_ms = 900});
  const Sequence* soon = harness.add({.num_prompt = 4, .max_length = 8, .deadline_ms = 100});
  std::vector<const Sequence*> order;
  while (harness.step() > 0) {
    if (order.empty() || order.back() != harness.items[0].sequence) order.push_back(harness.items[0].sequence);
  }
  EXPECT_EQ(order, (std::vector<const Sequence*>{harness.owned[0].get(), soon, late, none}));
}

TEST(Scheduler, PrefillSlicesKeepToTheTarget) {
  Harness harness(
      {.block_size = kBlock, .num_blocks = 600, .max_batch_tokens = 512, .max_sequences = 8, .target_step_ms = 60.0});
  double worst = 0;
  harness.cost_ms = [&](const StepShape& shape) {
    const double ms = 20 + 0.5 * static_cast<double>(shape.rows) + 0.001 * shape.attended;
    worst = std::max(worst, ms);
    return ms;
  };
  for (int i = 0; i < 4; ++i) harness.add(8 + i, 2000);
  for (int i = 0; i < 30; ++i) harness.step();
  harness.add(300, 310);
  for (int i = 0; i < 30; ++i) harness.step();
  worst = 0;
  const Sequence* prompt = harness.add(1200, 1210);
  int steps = 0;
  while (prompt->num_tokens() == 1200) {
    harness.step();
    ASSERT_LT(++steps, 200);
  }
  EXPECT_LT(worst, 63.0);
  EXPECT_GT(worst, 50.0) << "the target is also used";
}

TEST(Scheduler, StaticBatchesAreRefilledWhenAllHaveEnded) {
  Harness harness({.block_size = kBlock,
                   .num_blocks = 64,
                   .max_batch_tokens = 64,
                   .max_sequences = 2,
                   .static_batching = StaticBatching::kRefilled});
  harness.add(4, 6);
  harness.add(4, 20);
  const Sequence* next = harness.add(4, 6);
  while (harness.owned[1]->state != SequenceState::kFinished) {
    EXPECT_EQ(next->state, SequenceState::kWaiting);
    harness.step();
  }
  harness.step();
  EXPECT_NE(next->state, SequenceState::kWaiting);
}

TEST(Scheduler, WithoutChunksAPromptHasItsStepsToItself) {
  Harness harness(
      {.block_size = kBlock, .num_blocks = 64, .max_batch_tokens = 16, .max_sequences = 4, .chunked_prefill = false});
  harness.add(4, 40);
  harness.step();
  const Sequence* prompt = harness.add(40, 50);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(harness.step(), 1u);
    EXPECT_EQ(harness.items[0].sequence, prompt);
  }
  EXPECT_EQ(harness.step(), 2u);
}

TEST(Scheduler, NamesOfChoices) {
  EXPECT_EQ(parse_scheduling_policy("fair"), SchedulingPolicy::kFair);
  EXPECT_EQ(parse_static_batching("padded"), StaticBatching::kPadded);
  EXPECT_EQ(parse_preemption("swap"), Preemption::kSwap);
  EXPECT_THROW(parse_scheduling_policy("random"), Error);
}

// Random arrivals, forks and cancellations under block shortage; check() and the cache model see every step.
TEST(Scheduler, SeededStormKeepsTheInvariantsAndProgresses) {
  for (uint64_t seed = 0; seed < 150; ++seed) {
    std::mt19937_64 random(seed);
    const auto below = [&](uint64_t n) { return static_cast<int64_t>(random() % n); };
    const int64_t num_blocks = 6 + below(30);
    const int64_t max_sequences = 1 + below(8);
    Harness harness({.block_size = kBlock,
                     .num_blocks = num_blocks,
                     .max_batch_tokens = max_sequences + below(20),
                     .max_sequences = max_sequences,
                     .policy = static_cast<SchedulingPolicy>(below(4)),
                     .first_served = static_cast<FirstServed>(below(2)),
                     .chunked_prefill = below(4) != 0,
                     .prefix_caching = below(3) != 0,
                     .preemption = static_cast<Preemption>(below(3)),
                     .num_swap_slots = below(2) * below(20)});
    for (int event = 0; event < 300; ++event) {
      if (below(3) == 0) {
        const int64_t length = 2 + below(static_cast<uint64_t>(num_blocks * kBlock - 1));
        const int slots = static_cast<int>(1 + below(static_cast<uint64_t>(std::min<int64_t>(3, max_sequences))));
        const int64_t num_prompt = 1 + below(static_cast<uint64_t>(length - 1));
        harness.add({.num_prompt = num_prompt,
                     .max_length = length,
                     .num_slots = slots,
                     .num_shared = below(2) * num_prompt,
                     .priority = static_cast<int32_t>(below(3)),
                     .tenant = std::string(1, static_cast<char>('a' + below(3))),
                     .salt = std::string(1, static_cast<char>('a' + below(2)))});
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
    EXPECT_EQ(harness.scheduler.blocks().num_available(), num_blocks) << "seed " << seed;
  }
}

}  // namespace
}  // namespace quire
