#include "engine/kv_manager.h"

#include <gtest/gtest.h>

#include <numeric>

namespace quire {
namespace {

constexpr int64_t kBlock = 4;

class KvManagerTest : public testing::Test {
 protected:
  // A group without a window and a group with a window of 6 positions.
  static KvOptions options(Eviction eviction = Eviction::kLru) {
    return {.block_size = kBlock,
            .groups = {{.num_blocks = 20, .num_host_blocks = 8}, {.window = 6, .num_blocks = 9, .num_host_blocks = 4}},
            .max_batch_tokens = 8,
            .eviction = eviction,
            .hash_key = {.low = 1, .high = 2}};
  }

  static Sequence sequence(int64_t num_tokens, int32_t first_token = 0) {
    Sequence result;
    result.tokens.resize(static_cast<size_t>(num_tokens));
    std::iota(result.tokens.begin(), result.tokens.end(), first_token);
    return result;
  }
  // Computes tokens up to `end` in steps of `step`.
  static void compute(KvManager& kv, Sequence& sequence, int64_t end, int64_t step = 4) {
    while (sequence.num_computed_tokens < end) {
      const int64_t next = std::min(end, sequence.num_computed_tokens + step);
      if (!sequence.kv.tables.empty()) kv.release_before(sequence, sequence.num_computed_tokens);
      kv.cover(sequence, next);
      sequence.num_computed_tokens = sequence.num_settled_tokens = next;
      kv.publish(sequence);
    }
  }
  static void expect_sound(const KvManager& kv, std::initializer_list<const Sequence*> sequences) {
    const std::vector<const Sequence*> all(sequences);
    kv.check(all);
  }
};

TEST_F(KvManagerTest, ReleasesTheBlocksBeforeTheWindow) {
  KvManager kv(options());
  Sequence one = sequence(40);
  compute(kv, one, 40);
  kv.release_before(one, 40);
  EXPECT_EQ(kv.num_held(0, one.kv.tables), 10);
  EXPECT_EQ(kv.num_held(1, one.kv.tables), 2);  // a token at 40 sees [35, 40]
  EXPECT_EQ(one.kv.tables[1][7], kNoBlock);
  EXPECT_NE(one.kv.tables[1][8], kNoBlock);
  EXPECT_EQ(kv.blocks(1).num_cached(), 7) << "what was given back can be found";
  expect_sound(kv, {&one});
  kv.release(one);
  EXPECT_EQ(kv.blocks(0).num_active(), 0);
  EXPECT_EQ(kv.blocks(1).num_active(), 0);
}

TEST_F(KvManagerTest, KnowsWhichLengthsCanEverBeHeld) {
  KvManager kv(options());
  EXPECT_TRUE(kv.can_ever_hold(80));
  EXPECT_FALSE(kv.can_ever_hold(81));
  EXPECT_EQ(kv.longest_sequence(), 80);
  EXPECT_EQ(kv.max_held_blocks(1, 7), 2);
  EXPECT_EQ(kv.max_held_blocks(1, 80), 4);
  KvOptions few = options();
  few.groups[1].num_blocks = 4;  // the window and the tokens of a step need five
  EXPECT_EQ(KvManager(few).longest_sequence(), 16);
}

// A prefix is usable only as far as the group with a window still has its blocks.
TEST_F(KvManagerTest, APrefixHitNeedsOnlyTheWindowBeforeIt) {
  KvManager kv(options());
  Sequence first = sequence(40);
  compute(kv, first, 40);
  kv.release(first);
  // Another sequence needs blocks of the group with a window: the oldest cached ones are evicted, also those that the
  // prefix needs.
  Sequence other = sequence(20, 1000);
  compute(kv, other, 20, 8);

  Sequence again = sequence(40);
  const PrefixHit hit = kv.find_prefix(again, 9);
  EXPECT_EQ(hit.num_blocks, 9);
  EXPECT_EQ(hit.tables[1][6], kNoBlock);
  EXPECT_NE(hit.tables[1][7], kNoBlock);  // a token at 36 sees [31, 36]
  kv.start_from(again, hit);
  again.num_computed_tokens = again.num_settled_tokens = 36;
  EXPECT_EQ(kv.num_held(1, again.kv.tables), 2);
  expect_sound(kv, {&other, &again});

  // A prefix that ends earlier finds its full blocks, but not its window.
  Sequence shorter = sequence(20);
  EXPECT_EQ(kv.find_prefix(shorter, 4).num_blocks, 0);
}

TEST_F(KvManagerTest, SwapsOnlyHeldBlocks) {
  KvManager kv(options());
  Sequence one = sequence(30);
  compute(kv, one, 22);
  kv.release_before(one, 22);
  std::vector<StepPlan::Move> moves;
  ASSERT_TRUE(kv.can_swap_out(one));
  EXPECT_EQ(kv.num_to_swap(one), 6 + 2);
  kv.swap_out(one, moves);
  kv.release(one);
  EXPECT_EQ(moves.size(), 8u);
  EXPECT_TRUE(one.kv.is_swapped());
  expect_sound(kv, {&one});

  EXPECT_EQ(kv.num_blocks_to_start(0, one, {}, 26), 8) << "blocks for all tokens that it knows";
  EXPECT_EQ(kv.num_blocks_to_start(1, one, {}, 26), 3);
  kv.swap_in(one, moves);
  EXPECT_EQ(moves.size(), 16u);
  EXPECT_EQ(one.kv.tables[1][3], kNoBlock);
  EXPECT_NE(one.kv.tables[1][4], kNoBlock);
  expect_sound(kv, {&one});

  // Places that incomplete moves still read are not free yet.
  Sequence two = sequence(30, 500);
  compute(kv, two, 16);
  EXPECT_FALSE(kv.can_swap_out(two));
  kv.complete_moves(moves.back().mark);
  EXPECT_TRUE(kv.can_swap_out(two));
  expect_sound(kv, {&one, &two});
}

TEST_F(KvManagerTest, ForksCopyOnWriteInEveryGroup) {
  KvManager kv(options());
  Sequence parent = sequence(14);
  compute(kv, parent, 14);
  Sequence child = sequence(14);
  kv.share(parent, child);
  child.num_computed_tokens = 14;
  EXPECT_TRUE(kv.is_shared(0, child, 14) && kv.is_shared(1, child, 14));
  std::vector<StepPlan::Move> moves;
  kv.copy_on_write(child, 14, moves);
  ASSERT_EQ(moves.size(), 2u);
  EXPECT_EQ(moves[1].blocks.group, 1);
  EXPECT_EQ(moves[1].blocks.from.index, parent.kv.tables[1][3]);
  EXPECT_EQ(moves[1].blocks.to.index, child.kv.tables[1][3]);
  EXPECT_FALSE(kv.is_shared(0, parent, 14) || kv.is_shared(1, parent, 14));
  EXPECT_EQ(parent.kv.tables[0][1], child.kv.tables[0][1]);
  expect_sound(kv, {&parent, &child});
}

// The order in which the policy evicts its cached blocks.
std::vector<int32_t> victims(Eviction kind, const std::vector<int32_t>& used) {
  const auto policy = make_eviction_policy(kind, 4);
  for (int32_t block = 0; block < 4; ++block) policy->insert(block);
  for (const int32_t block : used) {
    policy->use(block);
    policy->insert(block);
  }
  std::vector<int32_t> order;
  while (policy->victim() >= 0) {
    order.push_back(policy->victim());
    policy->remove(policy->victim());
  }
  policy->insert(2);  // with another content
  EXPECT_EQ(policy->victim(), 2);
  return order;
}

TEST(Eviction, LruEvictsTheLeastRecentlyUsed) {
  EXPECT_EQ(victims(Eviction::kLru, {}), (std::vector<int32_t>{0, 1, 2, 3}));
  EXPECT_EQ(victims(Eviction::kLru, {0, 2}), (std::vector<int32_t>{1, 3, 0, 2}));
}

TEST(Eviction, SegmentedEvictsBlocksThatWereNeverFoundAgainFirst) {
  EXPECT_EQ(victims(Eviction::kSegmented, {0, 2, 0}), (std::vector<int32_t>{1, 3, 2, 0}));
  const auto policy = make_eviction_policy(Eviction::kSegmented, 2);
  policy->insert(0);
  policy->use(0);
  policy->insert(0);
  policy->insert(1);
  EXPECT_EQ(policy->victim(), 1) << "the newer one was never asked for again";
}

}  // namespace
}  // namespace quire
