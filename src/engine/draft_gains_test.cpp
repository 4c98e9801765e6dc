#include "engine/draft_gains.h"

#include <gtest/gtest.h>

#include <numeric>

namespace quire {
namespace {

// 0 (1 (2), 3), 4 (5)
const Drafts kTree = {.tokens = {10, 11, 12, 13, 14, 15}, .parents = {-1, 0, 1, 0, -1, 4}};

AcceptanceEstimate with_rates(double first, double second) {
  AcceptanceEstimate estimate;
  for (int i = 0; i < 1000; ++i) {
    estimate.observe_at(0, i % 10 < first * 10);
    estimate.observe_at(1, i % 10 < second * 10);
    estimate.observe_at(2, i % 2 == 0);
  }
  return estimate;
}

TEST(DraftGains, OfATree) {
  const AcceptanceEstimate estimate = with_rates(0.6, 0.5);
  const double p0 = estimate.probability(0), p1 = estimate.probability(1), p2 = estimate.probability(2);
  const std::vector<double> gains = gains_of(kTree, estimate);
  ASSERT_EQ(gains.size(), 6u);
  EXPECT_DOUBLE_EQ(gains[0], p0);
  EXPECT_DOUBLE_EQ(gains[1], p0 * p1);
  EXPECT_DOUBLE_EQ(gains[2], p0 * p1 * p2);
  EXPECT_DOUBLE_EQ(gains[3], p0 * (1 - p1) * p1);
  EXPECT_DOUBLE_EQ(gains[4], (1 - p0) * p0);
  EXPECT_DOUBLE_EQ(gains[5], (1 - p0) * p0 * p1);
}

TEST(DraftGains, TheLikeliestNodesAreATree) {
  for (const auto& [first, second] : {std::pair{0.9, 0.9}, {0.5, 0.1}, {0.2, 0.9}, {1.0, 1.0}, {0.0, 0.0}}) {
    const std::vector<double> gains = gains_of(kTree, with_rates(first, second));
    for (int64_t count = 0; count <= 6; ++count) {
      Drafts kept = kTree;
      keep_likeliest(kept, gains, count);
      ASSERT_EQ(std::ssize(kept.tokens), count);
      for (size_t i = 0; i < kept.size(); ++i) {
        // Every node still follows the token that it followed.
        const auto node = static_cast<size_t>(kept.tokens[i] - 10);
        const int32_t parent = kept.parents[i];
        EXPECT_LT(parent, static_cast<int32_t>(i));
        EXPECT_EQ(parent < 0 ? -1 : kept.tokens[static_cast<size_t>(parent)] - 10, kTree.parents[node]);
      }
    }
  }
  Drafts kept = kTree;
  keep_likeliest(kept, gains_of(kTree, with_rates(0.5, 0.1)), 2);
  EXPECT_EQ(kept.tokens, (std::vector<int32_t>{10, 14})) << "an alternative is likelier than what follows";
}

TEST(DraftGains, AStepTellsOfTheFirstChildren) {
  const auto rate_after = [](std::vector<int32_t> accepted, int64_t position) {
    AcceptanceEstimate estimate;
    for (int i = 0; i < 100; ++i) observe_drafts(estimate, kTree, accepted);
    return estimate.probability(position);
  };
  EXPECT_GT(rate_after({10, 11, 12}, 0), 0.9);
  EXPECT_GT(rate_after({10, 11, 12}, 2), 0.9);
  EXPECT_LT(rate_after({}, 0), 0.1);
  EXPECT_LT(rate_after({14}, 0), 0.1);
  EXPECT_LT(rate_after({14}, 1), 0.1);
  EXPECT_GT(rate_after({14, 15}, 1), 0.9);
  EXPECT_EQ(rate_after({10, 13}, 2), AcceptanceEstimate().probability(2)) << "nothing followed it";
}

TEST(DraftGains, OfAChainTheFirstWrongOneIsTheLastThatIsKnown) {
  const Drafts chain = {.tokens = {7, 8, 9}, .parents = {}};
  AcceptanceEstimate estimate;
  for (int i = 0; i < 100; ++i) observe_drafts(estimate, chain, std::vector<int32_t>{7});
  EXPECT_GT(estimate.probability(0), 0.9);
  EXPECT_LT(estimate.probability(1), 0.1);
  EXPECT_EQ(estimate.probability(2), AcceptanceEstimate().probability(2));
  for (int i = 0; i < 100; ++i) observe_drafts(estimate, chain, std::vector<int32_t>{7, 8, 9});
  EXPECT_GT(estimate.probability(2), 0.9);
  EXPECT_EQ(estimate.probability(3), AcceptanceEstimate().probability(3));
}

}  // namespace
}  // namespace quire
