#include "measure/distributions.h"

#include <gtest/gtest.h>

#include <cmath>

namespace quire {
namespace {

// Logits of the probabilities 1/2, 1/4, 1/4 and 1/4, 1/2, 1/4, each with a shift that must not matter.
const std::vector<float> kFirst = {std::log(4.0f) + 3, std::log(2.0f) + 3, std::log(2.0f) + 3};
const std::vector<float> kSecond = {std::log(2.0f) - 5, std::log(4.0f) - 5, std::log(2.0f) - 5};

TEST(Distributions, SurpriseAndDivergenceAreThoseOfTheDefinition) {
  EXPECT_NEAR(surprise(kFirst, 0), std::log(2.0), 1e-6);
  EXPECT_NEAR(divergence(kFirst, kSecond), 0.5 * std::log(2.0) - 0.25 * std::log(2.0), 1e-6);
  EXPECT_NEAR(divergence(kFirst, kFirst), 0, 1e-12);
}

TEST(Distributions, DistanceKnowsMeanErrorQuantilesAndAgreement) {
  EXPECT_TRUE(Distance::measure(kFirst, kFirst).same_choice);
  EXPECT_FALSE(Distance::measure(kFirst, kSecond).same_choice);
  Distance distance;
  for (int i = 100; i >= 0; --i) distance.add({.divergence = static_cast<double>(i), .same_choice = i % 4 == 0});
  EXPECT_EQ(distance.count(), 101);
  EXPECT_DOUBLE_EQ(distance.mean(), 50);
  EXPECT_DOUBLE_EQ(distance.largest(), 100);
  EXPECT_DOUBLE_EQ(distance.quantile(0.99), 99);
  EXPECT_DOUBLE_EQ(distance.quantile(0.005), 0.5);
  EXPECT_DOUBLE_EQ(distance.quantile(1), 100);
  EXPECT_DOUBLE_EQ(distance.share_alike(), 26.0 / 101);
  // The variance of 0..100 is 850, of its mean over 100 of them 8.5.
  EXPECT_NEAR(distance.error(), std::sqrt(8.5), 1e-9);
}

}  // namespace
}  // namespace quire
