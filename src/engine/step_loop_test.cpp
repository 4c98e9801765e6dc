#include "engine/step_loop.h"

#include <gtest/gtest.h>

#include <map>

#include "engine/test_harness.h"

namespace quire {
namespace {

using test::Harness;
using test::kBlock;
using test::plan_and_begin;
using test::sequence_of;

// One group without a window, one with a window, or both kinds.
std::vector<KvGroupOptions> random_groups(std::mt19937_64& random, int64_t num_blocks) {
  const auto below = [&](int64_t n) { return static_cast<int64_t>(random() % static_cast<uint64_t>(n)); };
  const int64_t num_host_blocks = below(2) * below(20);
  const auto windowed = [&] {
    return KvGroupOptions{
        .window = 1 + below(3 * kBlock), .num_blocks = 6 + below(num_blocks), .num_host_blocks = num_host_blocks};
  };
  const int64_t kind = below(4);
  if (kind == 0) return {windowed()};
  std::vector<KvGroupOptions> groups = {{.num_blocks = num_blocks, .num_host_blocks = num_host_blocks}};
  for (int64_t i = 1; i < kind; ++i) groups.push_back(windowed());
  return groups;
}

// Random arrivals, forks and cancellations with too few blocks; check() and the model of the cache verify every step.
TEST(StepLoop, RandomLoadKeepsTheInvariantsAndAdvances) {
  int64_t num_accepted = 0;
  int64_t num_rejected = 0;
  int64_t num_accepted_on_branches = 0;
  int64_t num_swapped = 0;
  for (uint64_t seed = 0; seed < 150; ++seed) {
    std::mt19937_64 random(seed);
    const auto below = [&](uint64_t n) { return static_cast<int64_t>(random() % n); };
    const int64_t num_blocks = 6 + below(30);
    const int64_t max_sequences = 1 + below(8);
    Harness harness({.block_size = kBlock,
                     .kv_groups = random_groups(random, num_blocks),
                     .max_batch_tokens = max_sequences + below(20),
                     .max_sequences = max_sequences,
                     .max_branches = below(8),
                     .policy = static_cast<SchedulingPolicy>(below(4)),
                     .first_served = static_cast<FirstServed>(below(2)),
                     .chunked_prefill = below(4) != 0,
                     .prefix_caching = below(3) != 0,
                     .eviction = static_cast<Eviction>(below(2)),
                     .preemption = static_cast<Preemption>(below(3))},
                    static_cast<int>(1 + below(4)));
    const bool trees = below(2) == 0;
    harness.num_incomplete_moves = static_cast<uint64_t>(below(2) * below(4));
    const int64_t num_drafts = below(2) * below(6);
    const bool awaits_tokens = below(2) == 0;
    for (int event = 0; event < 300; ++event) {
      if (below(3) == 0) {
        const int64_t length = 2 + below(static_cast<uint64_t>(num_blocks * kBlock - 1));
        const int num_choices = static_cast<int>(1 + below(static_cast<uint64_t>(std::min<int64_t>(3, max_sequences))));
        const int64_t num_prompt = 1 + below(static_cast<uint64_t>(length - 1));
        if (!harness.scheduler.can_ever_fit(length, num_choices)) continue;
        harness.add({.num_prompt = num_prompt,
                     .max_length = length,
                     .num_choices = num_choices,
                     .num_shared = below(2) * num_prompt,
                     .priority = static_cast<int32_t>(below(3)),
                     .tenant = std::string(1, static_cast<char>('a' + below(3))),
                     .salt = std::string(1, static_cast<char>('a' + below(2))),
                     .shares_cache = below(4) != 0,
                     .awaits_tokens = awaits_tokens});
      }
      if (!harness.owned.empty() && below(10) == 0) {
        Sequence* victim = harness.owned[static_cast<size_t>(below(harness.owned.size()))].get();
        if (victim->state != SequenceState::kFinished) harness.loop.finish(victim);
      }
      harness.propose(num_drafts, trees);
      harness.step();
      if (HasFatalFailure()) return;
    }
    int idle = 0;
    do {
      harness.propose(num_drafts, trees);
      ASSERT_LT(++idle, 100000) << "seed " << seed;
    } while (harness.step() > 0);
    EXPECT_EQ(harness.scheduler.num_waiting(), 0) << "seed " << seed << ": nothing runs, somebody waits";
    for (size_t g = 0; g < harness.scheduler.kv().num_groups(); ++g) {
      EXPECT_EQ(harness.scheduler.kv().blocks(g).num_active(), 0) << "seed " << seed << ", group " << g;
    }
    num_accepted += harness.num_accepted;
    num_rejected += harness.num_rejected;
    num_accepted_on_branches += harness.num_accepted_on_branches;
    num_swapped += harness.num_swapped;
  }
  EXPECT_GT(num_accepted, 1000);
  EXPECT_GT(num_rejected, 1000);
  EXPECT_GT(num_accepted_on_branches, 300);
  EXPECT_GT(num_swapped, 100);
}

TEST(StepLoop, WrongDraftsAreRolledBack) {
  Scheduler scheduler(
      {.block_size = kBlock, .kv_groups = {{.num_blocks = 16}}, .max_batch_tokens = 16, .max_sequences = 2});
  Sequence sequence = sequence_of(0, 7, 40);
  scheduler.add(&sequence);
  scheduler.settle(plan_and_begin(scheduler)[0], std::vector<int32_t>{100});
  sequence.drafts.tokens = {1, 2, 3, 4, 5};
  const auto items = plan_and_begin(scheduler);
  ASSERT_EQ(items.size(), 1u);
  EXPECT_EQ(items[0].first_position, 7);
  EXPECT_EQ(items[0].num_tokens, 6);
  EXPECT_EQ(items[0].num_drafts, 5);
  EXPECT_EQ(sequence.num_computed_tokens, 13);
  EXPECT_EQ(sequence.kv.tables[0].size(), 4u);
  EXPECT_TRUE(plan_and_begin(scheduler).empty()) << "how far it gets is not known yet";
  scheduler.settle(items[0], std::vector<int32_t>{1, 2, 50});
  scheduler.check();
  EXPECT_EQ(sequence.num_known_tokens(), 11);
  EXPECT_EQ(sequence.num_tokens(), 11);
  EXPECT_EQ(sequence.num_computed_tokens, 10);
  EXPECT_EQ(sequence.kv.tables[0].size(), 3u);
  EXPECT_EQ(sequence.kv.num_published, 2) << "the third block is not full of tokens that hold";
  EXPECT_TRUE(sequence.drafts.empty());
  const auto next = plan_and_begin(scheduler);
  ASSERT_EQ(next.size(), 1u);
  EXPECT_EQ(next[0].first_position, 10);
  EXPECT_EQ(next[0].num_tokens, 1);
  EXPECT_EQ(next[0].num_drafts, 0);
}

// Position 6 has the last token, 7 to 9 have the drafts 1 (2 (3), 4 (5)) and 6 (7); position 8 begins a block.
TEST(StepLoop, TheBlocksOfTheAcceptedPathBecomeTheSequences) {
  for (const auto& [accepted, branch] : {std::pair{std::vector<int32_t>{1, 2, 50}, -1},
                                         {std::vector<int32_t>{1, 4, 5, 50}, 0},
                                         {std::vector<int32_t>{6, 7, 50}, 1},
                                         {std::vector<int32_t>{50}, -1}}) {
    Scheduler scheduler({.block_size = kBlock,
                         .kv_groups = {{.num_blocks = 16}, {.window = 3, .num_blocks = 16}},
                         .max_batch_tokens = 16,
                         .max_sequences = 2,
                         .max_branches = 2});
    Sequence sequence = sequence_of(0, 6, 40);
    scheduler.add(&sequence);
    scheduler.settle(plan_and_begin(scheduler)[0], std::vector<int32_t>{100});
    sequence.drafts = {.tokens = {1, 2, 3, 4, 5, 6, 7}, .parents = {-1, 0, 1, 0, 3, -1, 5}};
    const auto items = plan_and_begin(scheduler);
    ASSERT_EQ(items.size(), 1u);
    EXPECT_EQ(items[0].num_tokens, 8);
    EXPECT_EQ(items[0].num_drafts, 7);
    EXPECT_EQ(items[0].num_on_trunk, 3);
    EXPECT_EQ(sequence.num_computed_tokens, 10) << "the last token and the trunk";
    const std::vector<KvBranch> branches = sequence.kv.branches;
    ASSERT_EQ(branches.size(), 2u);
    EXPECT_EQ(branches[0].first_position, 8);
    EXPECT_EQ(branches[0].parent, -1);
    EXPECT_EQ(branches[1].first_position, 7);
    for (size_t g = 0; g < 2; ++g) {
      EXPECT_EQ(branches[0].tables[g].size(), 1u) << "it begins with a block";
      EXPECT_EQ(branches[1].tables[g].size(), 2u) << "the end of a block, and one more";
    }
    const std::vector<BlockTable> tables = sequence.kv.tables;
    scheduler.settle(items[0], accepted);
    scheduler.check();
    const auto num_accepted = std::ssize(accepted) - 1;
    EXPECT_EQ(sequence.num_computed_tokens, 7 + num_accepted);
    EXPECT_EQ(sequence.num_settled_tokens, 7 + num_accepted);
    EXPECT_EQ(sequence.num_known_tokens(), 8 + num_accepted);
    EXPECT_EQ(sequence.kv.num_published, num_accepted > 0 ? 2 : 1);
    EXPECT_TRUE(sequence.kv.branches.empty() && sequence.drafts.empty());
    for (size_t g = 0; g < 2; ++g) {
      const BlockTable& now = sequence.kv.tables[g];
      EXPECT_EQ(scheduler.blocks(g).num_active(), std::ranges::count_if(now, [](int32_t block) { return block >= 0; }));
      for (size_t i = 0; i < now.size(); ++i) {
        const auto first = branch < 0 ? size_t{9} : static_cast<size_t>(branches[branch].first_position / kBlock);
        EXPECT_EQ(now[i], i < first ? tables[g][i] : branches[branch].tables[g][i - first]) << "entry " << i;
      }
    }
  }
}

// A sequence that is swapped out while a step computes its tree keeps what holds of the trunk.
TEST(StepLoop, PreemptionDropsBranches) {
  for (const Preemption preemption : {Preemption::kSwap, Preemption::kRecompute}) {
    Scheduler scheduler({.block_size = kBlock,
                         .kv_groups = {{.num_blocks = 8, .num_host_blocks = 8}},
                         .max_batch_tokens = 32,
                         .max_sequences = 2,
                         .max_branches = 4,
                         .policy = SchedulingPolicy::kPriority,
                         .preemption = preemption});
    Sequence sequence = sequence_of(0, 6, 20);
    sequence.priority = 1;
    scheduler.add(&sequence);
    scheduler.settle(plan_and_begin(scheduler)[0], std::vector<int32_t>{100});
    sequence.drafts = {.tokens = {1, 2, 3, 4, 5}, .parents = {-1, 0, 1, 1, -1}};
    const auto items = plan_and_begin(scheduler);
    ASSERT_EQ(sequence.kv.branches.size(), 2u);
    Sequence urgent = sequence_of(1, 24, 30, 50);
    scheduler.add(&urgent);
    ASSERT_EQ(plan_and_begin(scheduler).size(), 1u);
    EXPECT_EQ(sequence.state, SequenceState::kWaiting);
    EXPECT_TRUE(sequence.kv.branches.empty());
    scheduler.settle(items[0], std::vector<int32_t>{1, 2, 4, 50});
    scheduler.check();
    EXPECT_EQ(sequence.num_known_tokens(), 11);
    EXPECT_EQ(sequence.num_computed_tokens, preemption == Preemption::kSwap ? 9 : 0) << "4 is on a branch";
    EXPECT_TRUE(sequence.drafts.empty());
  }
}

// Without branches left, without blocks for them or beyond the end of the sequence, the first drafts of a tree remain.
TEST(StepLoop, ATreeIsCutToItsFirstDrafts) {
  const auto planned = [](int64_t num_blocks, int64_t max_branches, int64_t max_length) {
    Scheduler scheduler({.block_size = kBlock,
                         .kv_groups = {{.num_blocks = num_blocks}},
                         .max_batch_tokens = 16,
                         .max_sequences = 2,
                         .max_branches = max_branches});
    Sequence sequence = sequence_of(0, 6, max_length);
    scheduler.add(&sequence);
    scheduler.settle(plan_and_begin(scheduler)[0], std::vector<int32_t>{100});
    sequence.drafts = {.tokens = {1, 2, 3, 4, 5, 6, 7}, .parents = {-1, 0, 1, 0, 3, -1, 5}};
    const auto items = plan_and_begin(scheduler);
    const int64_t num_drafts = items.at(0).num_drafts;
    scheduler.finish(&sequence);
    scheduler.check();
    EXPECT_EQ(scheduler.blocks().num_active(), 0);
    return num_drafts;
  };
  EXPECT_EQ(planned(16, 2, 40), 7);
  EXPECT_EQ(planned(16, 1, 40), 5);
  EXPECT_EQ(planned(16, 0, 40), 3);
  EXPECT_EQ(planned(7, 2, 40), 7);
  EXPECT_EQ(planned(6, 2, 40), 6) << "one block stays free";
  EXPECT_EQ(planned(5, 2, 40), 5);
  EXPECT_EQ(planned(4, 2, 40), 3);
  EXPECT_EQ(planned(16, 2, 10), 2) << "the last token of a sequence is never computed";
}

// Drafts may not take blocks that others are sure to need, nor go beyond the end of the sequence.
TEST(StepLoop, DraftsUseOnlySpareBlocks) {
  Scheduler scheduler(
      {.block_size = kBlock, .kv_groups = {{.num_blocks = 7}}, .max_batch_tokens = 16, .max_sequences = 2});
  Sequence first = sequence_of(0, 4, 30);
  Sequence second = sequence_of(1, 4, 7, 50);
  scheduler.add(&first);
  scheduler.add(&second);
  for (const auto& item : plan_and_begin(scheduler)) scheduler.settle(item, std::vector<int32_t>{9});
  first.drafts.tokens.assign(12, 1);
  second.drafts.tokens.assign(12, 1);
  const auto items = plan_and_begin(scheduler);
  ASSERT_EQ(items.size(), 2u);
  // When both sequences have their second block, three of seven are left; one stays for each sequence.
  EXPECT_EQ(items[0].num_drafts, 3 * kBlock - 5);
  EXPECT_EQ(items[1].num_drafts, 1) << "two tokens more end it";
}

// Drafts get what is left of a step when decoding sequences and prompts have been served.
TEST(StepLoop, DraftsComeLast) {
  Scheduler scheduler(
      {.block_size = kBlock, .kv_groups = {{.num_blocks = 64}}, .max_batch_tokens = 16, .max_sequences = 4});
  Sequence first = sequence_of(0, 4, 60);
  Sequence second = sequence_of(1, 10, 60, 50);
  Sequence third = sequence_of(2, 30, 60, 100);
  scheduler.add(&first);
  for (const auto& item : plan_and_begin(scheduler)) scheduler.settle(item, std::vector<int32_t>{9});
  first.drafts.tokens.assign(12, 1);
  scheduler.add(&second);
  auto items = plan_and_begin(scheduler);
  ASSERT_EQ(items.size(), 2u);
  EXPECT_EQ(items[0].num_drafts, 16 - 1 - 10);
  EXPECT_EQ(items[1].num_tokens, 10);
  scheduler.settle(items[0], std::vector<int32_t>{9});
  scheduler.settle(items[1], std::vector<int32_t>{9});
  first.drafts.tokens.assign(12, 1);
  scheduler.add(&third);
  items = plan_and_begin(scheduler);
  ASSERT_EQ(items.size(), 3u);
  EXPECT_EQ(items[0].num_drafts, 0);
  EXPECT_EQ(items[2].num_tokens, 14);
}

TEST(StepLoop, ABlockIsPublishedWhenItsStepHasSettled) {
  Scheduler scheduler(
      {.block_size = kBlock, .kv_groups = {{.num_blocks = 32}}, .max_batch_tokens = 32, .max_sequences = 4});
  Sequence first = sequence_of(0, 9, 20);
  Sequence early = sequence_of(1, 9, 20);
  Sequence late = sequence_of(2, 9, 20);
  scheduler.add(&first);
  const auto items = plan_and_begin(scheduler);
  scheduler.add(&early);
  plan_and_begin(scheduler);
  EXPECT_EQ(early.num_cached_tokens, 0) << "what a step computes is not known to be there before it has";
  scheduler.settle(items[0], std::vector<int32_t>{9});
  scheduler.add(&late);
  plan_and_begin(scheduler);
  EXPECT_EQ(late.num_cached_tokens, 8);
}

// While its last token is pending, a sequence leaves its place in the batch and, when needed, its blocks to others.
TEST(StepLoop, ASequenceWhoseLastTokenIsPendingMakesRoom) {
  Scheduler scheduler(
      {.block_size = kBlock, .kv_groups = {{.num_blocks = 3}}, .max_batch_tokens = 16, .max_sequences = 1});
  Sequence first = sequence_of(0, 9, 10);
  Sequence second = sequence_of(1, 2, 9, 50);
  scheduler.add(&first);
  const auto items = plan_and_begin(scheduler);
  scheduler.add(&second);
  EXPECT_TRUE(plan_and_begin(scheduler).empty()) << "it waits for the blocks";
  EXPECT_EQ(first.state, SequenceState::kEnding);
  scheduler.settle(items[0], std::vector<int32_t>{9});
  EXPECT_EQ(first.kv.num_published, 2);
  scheduler.finish(&first);
  EXPECT_EQ(scheduler.blocks().num_cached(), 2);
  EXPECT_EQ(plan_and_begin(scheduler).size(), 1u);
}

// When a step throws, all steps in flight may have computed wrong values; sequences outside these steps go on.
TEST(StepLoop, AbandonReturnsTheSequencesInFlight) {
  for (const bool fails_at_start : {true, false}) {
    Harness harness(
        {.block_size = kBlock, .kv_groups = {{.num_blocks = 64}}, .max_batch_tokens = 10, .max_sequences = 4}, 2);
    const Sequence* first = harness.add(4, 30);
    const Sequence* second = harness.add(4, 30);
    const Sequence* third = harness.add(4, 30);
    harness.step();
    harness.step();
    (fails_at_start ? harness.starts_until_failure : harness.finishes_until_failure) = 2;
    EXPECT_THROW(while (harness.step() > 0){}, Error);
    const std::vector<Sequence*> doubtful = harness.abandon();
    EXPECT_EQ(std::set<const Sequence*>(doubtful.begin(), doubtful.end()),
              (std::set<const Sequence*>{first, second, third}));
    const Sequence* waiting = harness.add(4, 30);
    for (Sequence* sequence : doubtful) harness.loop.finish(sequence);
    harness.scheduler.check();
    EXPECT_EQ(harness.scheduler.blocks().num_active(), 0);
    while (harness.step() > 0) {
    }
    EXPECT_EQ(waiting->num_tokens(), 30);
  }
}

// Trees that the step was computing end with their sequences.
TEST(StepLoop, AbandonedTreesGiveTheirBlocksBack) {
  for (const bool fails_at_start : {true, false}) {
    Harness harness({.block_size = kBlock,
                     .kv_groups = {{.num_blocks = 64}},
                     .max_batch_tokens = 40,
                     .max_sequences = 4,
                     .max_branches = 12});
    for (int i = 0; i < 3; ++i) harness.add(5, 40);
    harness.step();
    harness.propose(9, /*trees=*/true);
    (fails_at_start ? harness.starts_until_failure : harness.finishes_until_failure) = 0;
    EXPECT_THROW(harness.step(), Error);
    EXPECT_TRUE(std::ranges::any_of(harness.owned, [](const auto& each) { return !each->kv.branches.empty(); }));
    for (Sequence* sequence : harness.abandon()) harness.loop.finish(sequence);
    harness.scheduler.check();
    EXPECT_EQ(harness.scheduler.num_running(), 0);
    EXPECT_EQ(harness.scheduler.blocks().num_active(), 0);
  }
}

}  // namespace
}  // namespace quire
