#include "models/planning/memory_plan.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace quire {
namespace {

// 4 layers x 2 KV heads x 64 x 32 positions x (2 + 2) bytes = 64 KiB a block.
constexpr KvGroup kGroup{.num_layers = 4, .num_kv_heads = 2, .head_dim = 64};
constexpr uint64_t kMiB = uint64_t{1} << 20;

RunnerOptions options(int64_t max_sequences, int64_t max_context, int64_t num_blocks = 0) {
  return {.max_sequences = max_sequences, .max_context = max_context, .num_blocks = num_blocks};
}

PlanInput input(uint64_t allowed_bytes) {
  return {.weight_bytes = 10 * kMiB,
          .mapped_bytes = kMiB,
          .workspace_bytes = kMiB,
          .kv = {kGroup},
          .allowed_bytes = allowed_bytes};
}

TEST(KvGroup, CountsKvHeadsOnly) {
  EXPECT_EQ(kGroup.block_bytes(), 64u << 10);
  KvGroup mixed = kGroup;
  mixed.k_format = Format::kF32;
  EXPECT_EQ(mixed.block_bytes(), 96u << 10);
  mixed.k_format = Format::kQ8_0;  // 68 bytes for 64 elements
  mixed.v_format = Format::kQ4_0;  // 34
  EXPECT_EQ(mixed.block_bytes(), uint64_t{4} * 2 * 32 * (68 + 34));
  mixed.k_format = Format::kQ4_0;  // 42: K has codes of five bits
  EXPECT_EQ(mixed.block_bytes(), uint64_t{4} * 2 * 32 * (42 + 34));
}

TEST(MemoryPlan, GivesEverySequenceItsFullLength) {
  const MemoryPlan plan = plan_memory(input(100 * kMiB), options(4, 1000));
  EXPECT_EQ(plan.num_blocks, 4 * 32);  // 1000 positions end in the 32nd block
  EXPECT_EQ(plan.kv_bytes, 8 * kMiB);
  EXPECT_EQ(plan.kv_bytes_per_token, 2048u);
  EXPECT_EQ(plan.total_bytes, 20 * kMiB);
  EXPECT_TRUE(plan.fits);
  EXPECT_TRUE(plan.advice.empty());
}

// 5 layers of 6 see 100 positions: 6 blocks wherever they begin in one.
PlanInput windowed(uint64_t allowed_bytes) {
  PlanInput result = input(allowed_bytes);
  KvGroup window = kGroup;
  window.num_layers = 20;
  window.window = 100;
  result.kv.push_back(window);
  return result;
}

TEST(MemoryPlan, GroupsWithAWindowKeepTheirWindows) {
  RunnerOptions wanted = options(4, 4000);
  wanted.max_batch_tokens = 64;
  const MemoryPlan plan = plan_memory(windowed(1000 * kMiB), wanted);
  ASSERT_EQ(plan.kv_groups.size(), 2u);
  EXPECT_EQ(plan.kv_groups[0].num_blocks, 4 * 125);
  // Windows with a block at either end, the tokens of a step, and a window for each cached sequence.
  EXPECT_EQ(plan.kv_groups[1].num_blocks, 4 * 6 + 2 + 4 * 5);
  EXPECT_EQ(plan.kv_groups[1].block_bytes, 320u << 10);
  EXPECT_EQ(plan.kv_bytes, plan.kv_groups[0].kv_bytes + plan.kv_groups[1].kv_bytes);
  EXPECT_EQ(plan.kv_bytes_per_token, (64u + 320u) << 10 >> 5);
  EXPECT_TRUE(plan.fits);
}

TEST(MemoryPlan, AWindowedGroupNeverHasMoreBlocksThanAFullOne) {
  const MemoryPlan plan = plan_memory(windowed(1000 * kMiB), options(4, 120));
  EXPECT_EQ(plan.kv_groups[0].num_blocks, 16);
  EXPECT_EQ(plan.kv_groups[1].num_blocks, 16);
}

TEST(MemoryPlan, ReducesLengthFirstThenWindowsDownToOneSequence) {
  RunnerOptions wanted = options(4, 4000);
  wanted.max_batch_tokens = 64;
  const auto blocks = [&](uint64_t mib) {
    const MemoryPlan plan = plan_memory(windowed(mib * kMiB), wanted);
    EXPECT_TRUE(plan.fits) << mib;
    EXPECT_LE(plan.total_bytes, mib * kMiB);
    return std::pair{plan.kv_groups[0].num_blocks, plan.kv_groups[1].num_blocks};
  };
  EXPECT_EQ(blocks(40), (std::pair<int64_t, int64_t>{250, 4 * 6 + 2 + 2 * 5}));
  EXPECT_EQ(blocks(28), (std::pair<int64_t, int64_t>{125, 3 * 6 + 2 + 5}));
  const MemoryPlan none = plan_memory(windowed(22 * kMiB), wanted);
  EXPECT_FALSE(none.fits);
  EXPECT_NE(none.advice.find("--ctx-size"), std::string::npos) << none.advice;
}

TEST(MemoryPlan, SwapSpaceHasTheProportionsOfThePools) {
  RunnerOptions wanted = options(4, 4000);
  wanted.max_batch_tokens = 64;
  wanted.num_swap_blocks = 100;
  const MemoryPlan asked = plan_memory(windowed(1000 * kMiB), wanted);
  EXPECT_EQ(asked.kv_groups[0].num_host_blocks, 100);
  EXPECT_EQ(asked.kv_groups[1].num_host_blocks, 46 * 100 / 500);
  wanted.num_swap_blocks = 0;
  wanted.swap_bytes = 10 * kMiB;
  const MemoryPlan sized = plan_memory(windowed(1000 * kMiB), wanted);
  EXPECT_LE(sized.swap_bytes, 10 * kMiB);
  EXPECT_GT(sized.swap_bytes, 9 * kMiB);
}

TEST(MemoryPlan, ShrinksToWhatFits) {
  const MemoryPlan plan = plan_memory(input(15 * kMiB), options(4, 1000));
  EXPECT_EQ(plan.num_blocks, 48);
  EXPECT_TRUE(plan.fits);
  EXPECT_EQ(plan.total_bytes, 15 * kMiB);
}

TEST(MemoryPlan, CountsTheSamplersBuffers) {
  PlanInput sampling = input(16 * kMiB);
  EXPECT_EQ(plan_memory(sampling, options(4, 1000)).num_blocks, 64);
  sampling.sampling_bytes = 2 * kMiB;
  const MemoryPlan plan = plan_memory(sampling, options(4, 1000));
  EXPECT_EQ(plan.sampling_bytes, 2 * kMiB);
  EXPECT_EQ(plan.num_blocks, 32);
  EXPECT_EQ(plan.total_bytes, 16 * kMiB);
  EXPECT_TRUE(plan.fits);
}

TEST(MemoryPlan, RefusesLessThanOneSequence) {
  const MemoryPlan plan = plan_memory(input(13 * kMiB), options(4, 1000));
  EXPECT_FALSE(plan.fits);
  EXPECT_EQ(plan.num_blocks, 32);
  EXPECT_NE(plan.advice.find(" 512 (for one sequence"), std::string::npos) << plan.advice;
  const std::string text = refusal_text("model", plan);
  EXPECT_LE(std::count(text.begin(), text.end(), '\n') + 1, 5) << text;
  // What it advises does fit.
  EXPECT_TRUE(plan_memory(input(13 * kMiB), options(4, 512)).fits);
}

TEST(MemoryPlan, NamesTheLimitOfAFixedPool) {
  const MemoryPlan plan = plan_memory(input(13 * kMiB), options(4, 1000, 17));
  EXPECT_FALSE(plan.fits);
  EXPECT_NE(plan.advice.find("KV blocks <= 16"), std::string::npos) << plan.advice;
  EXPECT_TRUE(plan_memory(input(13 * kMiB), options(4, 1000, 16)).fits);
}

TEST(MemoryPlan, OffersTheSmallerKvType) {
  PlanInput wide = input(13 * kMiB);
  wide.kv[0].k_format = wide.kv[0].v_format = Format::kF32;
  RunnerOptions wanted = options(1, 1000);
  wanted.k_format = wanted.v_format = Format::kF32;
  const MemoryPlan plan = plan_memory(wide, wanted);
  EXPECT_NE(plan.advice.find(" 256 (for one sequence"), std::string::npos) << plan.advice;
  EXPECT_NE(plan.advice.find(" f16 with "), std::string::npos) << plan.advice;
  EXPECT_TRUE(plan.advice.ends_with(" 512")) << plan.advice;
  const MemoryPlan halves = plan_memory(input(13 * kMiB), options(1, 1000));
  EXPECT_NE(halves.advice.find(" q8_0 with --ctx-size 960"), std::string::npos) << halves.advice;
}

TEST(MemoryPlan, RefusesWeightsThatAreTooLargeAndSizesThatOverflow) {
  const MemoryPlan plan = plan_memory(input(5 * kMiB), options(4, 1000));
  EXPECT_FALSE(plan.fits);
  EXPECT_NE(plan.advice.find("weights"), std::string::npos);
  PlanInput monstrous = input(5 * kMiB);
  monstrous.kv = {{.num_layers = 4096, .num_kv_heads = 4096, .head_dim = 4096}};
  EXPECT_FALSE(plan_memory(monstrous, options(1, 1000, int64_t{1} << 30)).fits);
}

}  // namespace
}  // namespace quire
