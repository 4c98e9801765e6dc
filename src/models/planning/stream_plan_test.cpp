#include "models/planning/stream_plan.h"

#include <gtest/gtest.h>

#include <string>

namespace quire {
namespace {

constexpr uint64_t kMebibyte = uint64_t{1} << 20;

std::vector<uint64_t> starts_of(int num_layers, uint64_t layer_bytes) {
  std::vector<uint64_t> starts;
  for (int i = 0; i <= num_layers; ++i) starts.push_back(static_cast<uint64_t>(i) * layer_bytes);
  return starts;
}

// 'r' for a layer that stays, 's' for one that is streamed.
std::string layers_of(const StreamPlan& plan) {
  std::string text;
  for (int i = 0; i < plan.num_layers(); ++i) text += plan.sections[static_cast<size_t>(i)].is_resident ? 'r' : 's';
  return text;
}

TEST(StreamPlan, AsManyLayersStayAsHaveRoomEvenlySpread) {
  const std::vector<uint64_t> starts = starts_of(8, 20 * kMebibyte);
  const uint64_t weights = 8 * 20 * kMebibyte + 10 * kMebibyte;
  const auto layers = [&](uint64_t allowed_mib) {
    const auto plan = plan_stream(starts, weights, allowed_mib * kMebibyte);
    if (!plan) return std::string("none");
    EXPECT_LE(plan->memory_bytes(), allowed_mib * kMebibyte);
    EXPECT_EQ(plan->chunk_bytes, 2 * kMebibyte);
    EXPECT_TRUE(plan->sections.back().is_resident);
    EXPECT_EQ(plan->streamed_bytes(), static_cast<uint64_t>(plan->num_streamed()) * 20 * kMebibyte);
    return layers_of(*plan);
  };
  EXPECT_EQ(layers(49), "none");  // the rest and two layers need 50
  EXPECT_EQ(layers(50), "ssssssss");
  EXPECT_EQ(layers(69), "ssssssss");
  EXPECT_EQ(layers(70), "rsssssss");
  EXPECT_EQ(layers(130), "rsrsrsrs");
  EXPECT_EQ(layers(170), "rrrsrrrs");
  EXPECT_EQ(layers(500), "rrrrrrrs");
}

TEST(StreamPlan, LayersOfAllSizesHaveRoomAndReadWholePages) {
  const std::vector<uint64_t> starts = {0, 5'000, 90'000, 90'100};
  const auto plan = plan_stream(starts, 95'000, 1 * kMebibyte);
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->chunk_bytes, 64u << 10);
  EXPECT_EQ(plan->sections[1].first_read(), 4096u);
  EXPECT_EQ(plan->sections[1].last_read(), 90'112u);
  EXPECT_EQ(plan->sections[1].num_chunks(plan->chunk_bytes), 2u);
  EXPECT_EQ(plan->sections[2].num_chunks(plan->chunk_bytes), 1u);
  EXPECT_EQ(plan->sections[3].last, 95'000u);
}

TEST(StreamPlan, ModelsWithoutLayersAreNotStreamed) {
  EXPECT_FALSE(plan_stream({}, kMebibyte, kMebibyte));
  const std::vector<uint64_t> something_before = {64, 128};
  EXPECT_FALSE(plan_stream(something_before, kMebibyte, kMebibyte));
}

}  // namespace
}  // namespace quire
