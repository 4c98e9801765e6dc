#include "engine/scheduler.h"

#include <gtest/gtest.h>

#include <map>

#include "engine/test_harness.h"

namespace quire {
namespace {

using test::Harness;
using test::kBlock;
using test::plan_and_begin;
using test::sequence_of;

TEST(Scheduler, ChunksAPromptAndMixesItWithDecodes) {
  Harness harness({.block_size = kBlock, .kv_groups = {{.num_blocks = 64}}, .max_batch_tokens = 8, .max_sequences = 4});
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
  EXPECT_LE(harness.max_step_tokens, 8);
}

TEST(Scheduler, ForksShareBlocksAndCopyOnWrite) {
  Harness harness(
      {.block_size = kBlock, .kv_groups = {{.num_blocks = 64}}, .max_batch_tokens = 64, .max_sequences = 8});
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

TEST(Scheduler, PreemptsTheYoungestAndFinishesAll) {
  Harness harness(
      {.block_size = kBlock, .kv_groups = {{.num_blocks = 12}}, .max_batch_tokens = 16, .max_sequences = 4});
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

TEST(Scheduler, KnowsWhichSequencesCanNeverFit) {
  const Scheduler scheduler(
      {.block_size = kBlock, .kv_groups = {{.num_blocks = 4}}, .max_batch_tokens = 8, .max_sequences = 2});
  EXPECT_TRUE(scheduler.can_ever_fit(16, 1));
  EXPECT_FALSE(scheduler.can_ever_fit(17, 1));
  EXPECT_FALSE(scheduler.can_ever_fit(4, 3));
}

TEST(Scheduler, ACachedPrefixIsNotComputedAgain) {
  Harness harness(
      {.block_size = kBlock, .kv_groups = {{.num_blocks = 64}}, .max_batch_tokens = 64, .max_sequences = 8});
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

TEST(Scheduler, EvictsTheLeastRecentlyUsedPrefixFirst) {
  Harness harness(
      {.block_size = kBlock, .kv_groups = {{.num_blocks = 12}}, .max_batch_tokens = 64, .max_sequences = 1});
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

// At the RoPE switch a sequence becomes a prompt again; longer and shorter sequences find their own blocks alone.
TEST(Scheduler, ASequenceThatBecomesLongIsComputedAgain) {
  Harness harness({.block_size = kBlock,
                   .kv_groups = {{.num_blocks = 64}},
                   .max_batch_tokens = 16,
                   .max_sequences = 4,
                   .rope_switch_length = 20});
  Sequence* grows = harness.add({.num_prompt = 18, .max_length = 30, .num_shared = 18});
  while (grows->num_tokens() < 20) harness.step();
  harness.step();  // its row sees 20 tokens
  EXPECT_FALSE(grows->is_long);
  EXPECT_EQ(grows->num_computed_tokens, 20);
  harness.step();
  EXPECT_TRUE(grows->is_long);
  ASSERT_EQ(harness.items.size(), 1u);
  EXPECT_EQ(harness.items[0].first_position, 0);
  EXPECT_EQ(harness.items[0].num_tokens, 16) << "in chunks, as a prompt";
  EXPECT_FALSE(harness.items[0].samples);
  harness.step();
  EXPECT_EQ(harness.items[0].num_tokens, 5);
  EXPECT_TRUE(harness.items[0].samples);
  EXPECT_EQ(grows->num_preemptions, 0);
  const Sequence* shorter = harness.add({.num_prompt = 18, .max_length = 19, .num_shared = 18});
  const Sequence* longer = harness.add({.num_prompt = 24, .max_length = 25, .num_shared = 18});
  while (harness.step() > 0) {
  }
  EXPECT_EQ(shorter->num_cached_tokens, 16) << "of its first 20 tokens";
  EXPECT_EQ(longer->num_cached_tokens, 16) << "of its second life";
  EXPECT_FALSE(shorter->is_long);
  EXPECT_TRUE(longer->is_long);
}

TEST(Scheduler, LongerAndShorterSequencesShareNothing) {
  Harness harness({.block_size = kBlock,
                   .kv_groups = {{.num_blocks = 64}},
                   .max_batch_tokens = 64,
                   .max_sequences = 4,
                   .rope_switch_length = 20});
  const auto cached = [&](int64_t num_prompt) {
    const Sequence* sequence = harness.add({.num_prompt = num_prompt, .max_length = num_prompt + 1, .num_shared = 18});
    while (harness.step() > 0) {
    }
    return sequence->num_cached_tokens;
  };
  EXPECT_EQ(cached(18), 0);
  EXPECT_EQ(cached(24), 0);
  EXPECT_EQ(cached(18), 16);
  EXPECT_EQ(cached(24), 16);
}

TEST(Scheduler, SwapKeepsComputedTokens) {
  Harness harness({.block_size = kBlock,
                   .kv_groups = {{.num_blocks = 12, .num_host_blocks = 16}},
                   .max_batch_tokens = 16,
                   .max_sequences = 4,
                   .preemption = Preemption::kSwap});
  for (int i = 0; i < 4; ++i) harness.add(8, 40);
  int steps = 0;
  while (harness.step() > 0) ASSERT_LT(++steps, 1000);
  EXPECT_GT(harness.num_swapped, 0);
  for (const auto& sequence : harness.owned) EXPECT_EQ(sequence->num_tokens(), 40);
}

TEST(Scheduler, AnUrgentRequestRunsFirstAndPreemptsALessUrgentOne) {
  Harness harness({.block_size = kBlock,
                   .kv_groups = {{.num_blocks = 64}},
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

TEST(Scheduler, ManyRequestsOfOneTenantLeaveOthersTheirShare) {
  Harness harness({.block_size = kBlock,
                   .kv_groups = {{.num_blocks = 256}},
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
                   .kv_groups = {{.num_blocks = 64}},
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

TEST(Scheduler, PrefillSlicesKeepTheLatencyTarget) {
  Harness harness({.block_size = kBlock,
                   .kv_groups = {{.num_blocks = 600}},
                   .max_batch_tokens = 512,
                   .max_sequences = 8,
                   .target_step_ms = 60.0});
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

TEST(Scheduler, ANewStaticBatchStartsWhenAllHaveEnded) {
  Harness harness({.block_size = kBlock,
                   .kv_groups = {{.num_blocks = 64}},
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

TEST(Scheduler, WithoutChunkedPrefillPromptsRunInStepsOfTheirOwn) {
  Harness harness({.block_size = kBlock,
                   .kv_groups = {{.num_blocks = 64}},
                   .max_batch_tokens = 16,
                   .max_sequences = 4,
                   .chunked_prefill = false});
  harness.add(4, 40);
  harness.step();
  const Sequence* prompt = harness.add(40, 50);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(harness.step(), 1u);
    EXPECT_EQ(harness.items[0].sequence, prompt);
  }
  EXPECT_EQ(harness.step(), 2u);
}

TEST(Scheduler, ParsesTheNamesOfOptions) {
  EXPECT_EQ(parse_scheduling_policy("fair"), SchedulingPolicy::kFair);
  EXPECT_EQ(parse_static_batching("refilled"), StaticBatching::kRefilled);
  EXPECT_EQ(parse_preemption("swap"), Preemption::kSwap);
  EXPECT_THROW(parse_scheduling_policy("random"), Error);
}

TEST(Scheduler, PreemptsLessUrgentSequencesOnlyIfThatMakesRoom) {
  const auto preempted_for = [](int64_t num_urgent) {
    Scheduler scheduler({.block_size = kBlock,
                         .kv_groups = {{.num_blocks = 10}},
                         .max_batch_tokens = 64,
                         .max_sequences = 4,
                         .policy = SchedulingPolicy::kPriority,
                         .prefix_caching = false});
    Sequence holder = sequence_of(0, 7 * kBlock - 2, 7 * kBlock);
    Sequence lesser = sequence_of(1, 2 * kBlock - 2, 2 * kBlock);
    Sequence urgent = sequence_of(2, num_urgent, num_urgent + 1);
    holder.awaits_tokens = lesser.awaits_tokens = true;
    lesser.priority = 5;
    scheduler.add(&holder);
    scheduler.add(&lesser);
    const auto items = plan_and_begin(scheduler);
    EXPECT_EQ(items.size(), 2u);
    scheduler.add(&urgent);
    scheduler.plan();
    return scheduler.num_preemptions();
  };
  EXPECT_EQ(preempted_for(5 * kBlock - 1), 0) << "not even the lesser one's blocks would be enough";
  EXPECT_EQ(preempted_for(3 * kBlock - 1), 1);
}

TEST(Scheduler, ASequenceThatDeclinesTheCachePublishesNothing) {
  Harness harness(
      {.block_size = kBlock, .kv_groups = {{.num_blocks = 64}}, .max_batch_tokens = 64, .max_sequences = 8});
  harness.add({.num_prompt = 18, .max_length = 24, .num_shared = 16, .shares_cache = false});
  while (harness.step() > 0) {
  }
  EXPECT_EQ(harness.scheduler.blocks().num_cached(), 0);
  harness.add({.num_prompt = 18, .max_length = 24, .num_shared = 16});
  while (harness.step() > 0) {
  }
  EXPECT_EQ(harness.scheduler.blocks().num_cached(), 5);
  const Sequence* alone = harness.add({.num_prompt = 18, .max_length = 24, .num_shared = 16, .shares_cache = false});
  harness.step();
  EXPECT_EQ(alone->num_cached_tokens, 0);
}

TEST(Scheduler, HashKeysAreRandomByDefault) {
  const HashKey first = SchedulerOptions().hash_key;
  const HashKey second = SchedulerOptions().hash_key;
  EXPECT_TRUE(first.low != second.low && first.high != second.high);
  EXPECT_TRUE(first.low != 0 || first.high != 0);
}

TEST(TenantShares, RemembersTheMostServedTenantsAndForgetsTheOthers) {
  TenantShares shares;
  shares.arrive("steady", 1);
  shares.arrive("greedy", 1);
  shares.charge("steady", 10);
  shares.charge("greedy", 1000);
  shares.leave("greedy", 1);
  for (int i = 0; i < 20'000; ++i) {
    shares.arrive(std::to_string(i), 2);
    EXPECT_EQ(shares.served(std::to_string(i)), 10) << "a newcomer has the share of the least served";
    shares.leave(std::to_string(i), 1);
    shares.leave(std::to_string(i), 1);
  }
  EXPECT_LE(shares.num_known(), 2 * TenantShares::kMaxIdleTenants + 2);
  shares.arrive("greedy", 1);
  EXPECT_EQ(shares.served("greedy"), 1000) << "leaving for a moment forgives nothing";
  EXPECT_EQ(shares.served("steady"), 10);
}

}  // namespace
}  // namespace quire
