#include "models/kv_cache.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace quire {
namespace {

// Full, window, window, another shape, the third's K and V again, full.
std::vector<LayerKv> some_layers() {
  return {{.num_kv_heads = 2, .head_dim = 16, .window = 0, .source = 0},
          {.num_kv_heads = 2, .head_dim = 16, .window = 40, .source = 1},
          {.num_kv_heads = 2, .head_dim = 16, .window = 40, .source = 2},
          {.num_kv_heads = 4, .head_dim = 8, .window = 0, .source = 3},
          {.num_kv_heads = 2, .head_dim = 16, .window = 40, .source = 2},
          {.num_kv_heads = 2, .head_dim = 16, .window = 0, .source = 5}};
}

TEST(KvLayout, GroupsLayersOfOneShapeAndReach) {
  const KvLayout layout = make_kv_layout(some_layers(), {.max_context = 100, .num_ranks = 2});
  ASSERT_EQ(layout.groups.size(), 3u);
  EXPECT_EQ(layout.groups[0].num_layers, 2);
  EXPECT_EQ(layout.groups[0].num_kv_heads, 1);  // of each rank
  EXPECT_EQ(layout.groups[1].head_dim, 8);
  EXPECT_EQ(layout.groups[2].window, 40);  // the shortest reach comes last
  EXPECT_EQ(layout.groups[2].num_layers, 2) << "a layer that reads another's K and V keeps none";
  ASSERT_EQ(layout.layers.size(), 6u);
  EXPECT_EQ(layout.layers[5].group, 0);
  EXPECT_EQ(layout.layers[5].index, 1);
  EXPECT_EQ(layout.layers[4].group, layout.layers[2].group);
  EXPECT_EQ(layout.layers[4].index, layout.layers[2].index);
  const uint64_t per_head = 2 * 2;  // K and V in F16
  EXPECT_EQ(layout.token_bytes(), per_head * (2 * 16 + 2 * 8 + 2 * 16));
}

TEST(KvLayout, IgnoresAWindowThatNoSequenceOutgrows) {
  const KvLayout layout = make_kv_layout(some_layers(), {.max_context = 40});
  EXPECT_EQ(layout.groups.size(), 2u);
  EXPECT_EQ(layout.groups[0].num_layers, 4);
}

TEST(KvGroup, KnowsTheFirstBlockOfAWindow) {
  KvGroup group{.window = 40};
  EXPECT_EQ(group.first_block(0), 0);
  EXPECT_EQ(group.first_block(70), 0);  // sees [31, 70]
  EXPECT_EQ(group.first_block(71), 1);
  EXPECT_EQ(group.first_block(200), 5);
  group.window = 0;
  EXPECT_EQ(group.first_block(200), 0);
}

// Blocks hold a number of their own in every byte.
class KvCacheTest : public testing::Test {
 protected:
  static constexpr KvBlockCounts kCounts[] = {{.pool = 3, .host = 2}, {.pool = 3, .host = 1}, {.pool = 2, .host = 2}};

  KvCacheTest() : cache_(make_kv_layout(some_layers(), {.max_context = 100}), *device_, kCounts) {
    for (int group = 0; group < cache_.num_groups(); ++group) {
      for (int32_t block = 0; block < cache_.num_blocks(group); ++block) fill(group, block, number(group, block));
    }
  }
  static uint8_t number(int group, int32_t block) { return static_cast<uint8_t>(16 * group + block + 1); }

  template <typename Visit>
  void visit_bytes(int group, int32_t block, const Visit& visit) {
    const KvGroup& shape = cache_.layout().groups[static_cast<size_t>(group)];
    for (int i = 0; i < shape.num_layers; ++i) {
      const KvLayer layer = cache_.at({group, i});
      const int64_t bytes = layer.num_kv_heads * k_tile_bytes(layer.k_format, layer.head_dim);
      for (std::byte* cache : {layer.k, layer.v}) std::for_each_n(cache + block * bytes, bytes, visit);
    }
  }
  void fill(int group, int32_t block, uint8_t value) {
    visit_bytes(group, block, [&](std::byte& byte) { byte = std::byte{value}; });
  }
  bool holds(int group, int32_t block, uint8_t value) {
    bool all = true;
    visit_bytes(group, block, [&](std::byte& byte) { all = all && byte == std::byte{value}; });
    return all;
  }

  std::unique_ptr<Device> device_ = make_host_device();
  KvCache cache_;
};

TEST_F(KvCacheTest, MovesBlocksOfOneGroup) {
  cache_.move({.group = 0, .from = {KvTier::kPool, 2}, .to = {KvTier::kPool, 0}});
  cache_.move({.group = 2, .from = {KvTier::kPool, 1}, .to = {KvTier::kHost, 1}});
  cache_.move({.group = 1, .from = {KvTier::kPool, 1}, .to = {KvTier::kHost, 0}});
  fill(2, 1, 99);
  fill(1, 1, 98);
  cache_.move({.group = 2, .from = {KvTier::kHost, 1}, .to = {KvTier::kPool, 0}});
  for (const auto& [group, block, value] : {std::tuple{0, 0, number(0, 2)},
                                            {0, 1, number(0, 1)},
                                            {0, 2, number(0, 2)},
                                            {1, 0, number(1, 0)},
                                            {1, 1, uint8_t{98}},
                                            {1, 2, number(1, 2)},
                                            {2, 0, number(2, 1)},
                                            {2, 1, uint8_t{99}}}) {
    EXPECT_TRUE(holds(group, block, value)) << "group " << group << ", block " << block;
  }
}

}  // namespace
}  // namespace quire
