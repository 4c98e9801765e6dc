#include "engine/block_manager.h"

#include <gtest/gtest.h>

#include <random>

namespace quire {
namespace {

constexpr int64_t kTokensPerBlock = 4;
const HashKey kKey = {.low = 1, .high = 2};

// A chain of blocks that hold the tokens from `first` on.
struct Prefix {
  explicit Prefix(int32_t first, PrefixHash parent_hash = {}) : parent(parent_hash) {
    for (int32_t i = 0; i < kTokensPerBlock; ++i) tokens.push_back(first + i);
    hash = extend_prefix(kKey, parent, tokens);
  }
  PrefixHash parent;
  PrefixHash hash;
  std::vector<int32_t> tokens;
};

std::optional<int32_t> find(const BlockManager& blocks, const Prefix& prefix) {
  return blocks.find(prefix.parent, prefix.hash, prefix.tokens);
}

void publish(BlockManager& blocks, int32_t block, const Prefix& prefix) {
  blocks.publish(block, prefix.parent, prefix.hash, prefix.tokens);
}

TEST(BlockManager, AllocatesEachBlockOnce) {
  BlockManager blocks(3, kTokensPerBlock);
  EXPECT_EQ(blocks.allocate(), 0);
  EXPECT_EQ(blocks.allocate(), 1);
  EXPECT_EQ(blocks.allocate(), 2);
  EXPECT_FALSE(blocks.allocate().has_value());
  EXPECT_EQ(blocks.num_active(), 3);
  blocks.release(1);
  EXPECT_EQ(blocks.state(1), BlockState::kFree);
  EXPECT_EQ(blocks.allocate(), 1);
  blocks.check();
}

TEST(BlockManager, ABlockIsFreeAfterItsLastRelease) {
  BlockManager blocks(2, kTokensPerBlock);
  const int32_t block = *blocks.allocate();
  blocks.hold(block);
  EXPECT_TRUE(blocks.is_shared(block));
  EXPECT_EQ(blocks.num_holders(block), 2);
  EXPECT_EQ(blocks.state(block), BlockState::kShared);
  blocks.release(block);
  EXPECT_FALSE(blocks.is_shared(block));
  EXPECT_EQ(blocks.num_available(), 1);
  blocks.release(block);
  EXPECT_EQ(blocks.num_available(), 2);
  EXPECT_EQ(blocks.num_cached(), 0) << "it was not published";
}

TEST(BlockManager, FindsPublishedBlocksWhileHeldAndAfterTheirRelease) {
  BlockManager blocks(2, kTokensPerBlock);
  const Prefix prefix(10);
  const int32_t block = *blocks.allocate();
  EXPECT_FALSE(find(blocks, prefix).has_value());
  publish(blocks, block, prefix);
  EXPECT_EQ(find(blocks, prefix), block);
  blocks.release(block);
  EXPECT_EQ(blocks.state(block), BlockState::kCached);
  EXPECT_EQ(find(blocks, prefix), block);
  blocks.hold(block);
  EXPECT_EQ(blocks.num_cached(), 0);
  EXPECT_EQ(blocks.num_active(), 1);
  blocks.check();
}

TEST(BlockManager, ComparesTokensAndParentNotOnlyTheHash) {
  BlockManager blocks(2, kTokensPerBlock);
  const Prefix prefix(10);
  publish(blocks, *blocks.allocate(), prefix);
  const Prefix other(20);
  EXPECT_FALSE(blocks.find(prefix.parent, prefix.hash, other.tokens).has_value());
  EXPECT_FALSE(blocks.find(other.hash, prefix.hash, prefix.tokens).has_value());
}

TEST(BlockManager, ASecondBlockOfEqualContentStaysPrivate) {
  BlockManager blocks(2, kTokensPerBlock);
  const Prefix prefix(10);
  const int32_t first = *blocks.allocate();
  const int32_t second = *blocks.allocate();
  publish(blocks, first, prefix);
  publish(blocks, second, prefix);
  EXPECT_EQ(find(blocks, prefix), first);
  blocks.release(second);
  EXPECT_EQ(blocks.state(second), BlockState::kFree);
  blocks.check();
}

TEST(BlockManager, EvictsTheLeastRecentlyUsedFirst) {
  BlockManager blocks(3, kTokensPerBlock);
  const std::vector<Prefix> prefixes = {Prefix(10), Prefix(20), Prefix(30)};
  for (const Prefix& prefix : prefixes) publish(blocks, *blocks.allocate(), prefix);
  for (const int32_t block : {0, 1, 2}) blocks.release(block);
  blocks.hold(0);  // used again
  blocks.release(0);
  EXPECT_EQ(blocks.allocate(), 1);
  EXPECT_FALSE(find(blocks, prefixes[1]).has_value());
  EXPECT_EQ(blocks.allocate(), 2);
  EXPECT_EQ(find(blocks, prefixes[0]), 0);
  blocks.forget_cached();
  EXPECT_FALSE(find(blocks, prefixes[0]).has_value());
  EXPECT_EQ(blocks.num_free(), 1);
  blocks.check();
}

// Compares with a count of holders that the test keeps itself; check() verifies the rest.
TEST(BlockManager, RandomUseKeepsTheCounts) {
  constexpr int kBlocks = 9;
  std::mt19937_64 random(3);
  BlockManager blocks(kBlocks, kTokensPerBlock);
  std::vector<int> holders(kBlocks, 0);
  int32_t next = 0;
  for (int event = 0; event < 20'000; ++event) {
    const auto block = static_cast<int32_t>(random() % kBlocks);
    switch (random() % 4) {
      case 0:
        if (const auto given = blocks.allocate()) {
          ASSERT_EQ(holders[*given], 0);
          holders[*given] = 1;
        } else {
          ASSERT_EQ(std::count(holders.begin(), holders.end(), 0), 0);
        }
        break;
      case 1:
        if (holders[block] == 0 && !blocks.is_cached(block)) break;
        blocks.hold(block);
        ++holders[block];
        break;
      case 2:
        if (holders[block] == 0) break;
        blocks.release(block);
        --holders[block];
        break;
      default:
        if (holders[block] > 0) publish(blocks, block, Prefix(next += kTokensPerBlock));
    }
    ASSERT_EQ(blocks.num_active(), kBlocks - std::count(holders.begin(), holders.end(), 0));
    for (int32_t i = 0; i < kBlocks; ++i) ASSERT_EQ(blocks.num_holders(i), holders[i]);
    if (event % 16 == 0) blocks.check();
  }
}

}  // namespace
}  // namespace quire
