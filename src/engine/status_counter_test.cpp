#include "engine/status_counter.h"

#include <gtest/gtest.h>

#include "engine/test_harness.h"

namespace quire::test {
namespace {

TEST(StatusCounter, MapsEveryKvGroup) {
  Harness harness({.block_size = kBlock,
                   .kv_groups = {{.window = 0, .num_blocks = 16}, {.window = 8, .num_blocks = 7}},
                   .max_batch_tokens = 8,
                   .max_sequences = 2,
                   .max_logit_rows = 8});
  StatusCounter counter(harness.scheduler);
  EXPECT_TRUE(counter.read(true).blocks.empty()) << "nobody has asked yet";
  harness.add(20, 24);
  while (harness.scheduler.running().empty() || harness.scheduler.running()[0]->num_computed_tokens < 20) {
    harness.step();
  }
  counter.ask_for_blocks();
  counter.publish(harness.scheduler);
  const EngineStatus status = counter.read(true);
  ASSERT_EQ(status.kv_groups.size(), 2);
  ASSERT_EQ(status.blocks.size(), 2);
  for (size_t i = 0; i < 2; ++i) {
    const EngineStatus::KvGroup& group = status.kv_groups[i];
    const auto num_of = [&](auto... states) {
      return std::count_if(status.blocks[i].begin(), status.blocks[i].end(),
                           [&](BlockState state) { return ((state == states) || ...); });
    };
    EXPECT_EQ(group.blocks_total, static_cast<int64_t>(status.blocks[i].size()));
    EXPECT_EQ(group.blocks_active, num_of(BlockState::kActive, BlockState::kShared));
    EXPECT_EQ(group.blocks_cached, num_of(BlockState::kCached));
  }
  EXPECT_EQ(status.kv_groups[0].window, 0);
  EXPECT_EQ(status.kv_groups[1].window, 8);
  EXPECT_GE(status.kv_groups[0].blocks_active, 5) << "twenty tokens in blocks of four";
  EXPECT_LT(status.kv_groups[1].blocks_active, 5) << "the window's group gave the oldest back";
  EXPECT_EQ(status.blocks_active, status.kv_groups[0].blocks_active);

  counter.publish(harness.scheduler);
  EXPECT_EQ(counter.read(true).blocks.size(), 2) << "a step without a map takes away the last one";
  EXPECT_TRUE(counter.read(false).blocks.empty());
}

}  // namespace
}  // namespace quire::test
