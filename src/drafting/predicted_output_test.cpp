#include "drafting/predicted_output.h"

#include <gtest/gtest.h>

namespace quire {
namespace {

using Tokens = std::vector<int32_t>;

Tokens next_of(PredictedOutput& predicted, const Tokens& answer, int64_t count = 3) {
  const auto next = predicted.next(answer, count);
  return {next.begin(), next.end()};
}

TEST(PredictedOutput, FollowsFromTheBeginningToTheEnd) {
  PredictedOutput predicted({1, 2, 3, 4, 5});
  EXPECT_EQ(next_of(predicted, {}), (Tokens{1, 2, 3}));
  EXPECT_EQ(next_of(predicted, {1}), (Tokens{2, 3, 4}));
  EXPECT_EQ(next_of(predicted, {1, 2, 3, 4}), (Tokens{5}));
  EXPECT_EQ(next_of(predicted, {1, 2, 3, 4, 5}), (Tokens{}));
  EXPECT_EQ(next_of(predicted, {1, 2, 3, 4, 5, 6}), (Tokens{}));
  PredictedOutput empty({});
  EXPECT_EQ(next_of(empty, {}), (Tokens{}));
  EXPECT_EQ(next_of(empty, {1}), (Tokens{}));
}

TEST(PredictedOutput, GoesOnAfterAChange) {
  const Tokens text = {10, 11, 12, 13, 14, 15, 16, 17};
  PredictedOutput replaced(text);
  EXPECT_EQ(next_of(replaced, {10, 11, 99}), (Tokens{})) << "nothing is known of what follows another token";
  EXPECT_EQ(next_of(replaced, {10, 11, 99, 13}), (Tokens{14, 15, 16}));
  PredictedOutput left_out(text);
  EXPECT_EQ(next_of(left_out, {10, 11, 14}), (Tokens{15, 16, 17}));
  PredictedOutput inserted(text);
  EXPECT_EQ(next_of(inserted, {10, 11, 98, 99, 12}), (Tokens{13, 14, 15}));
}

// "f ( a ) ; f ( b ) ;": after a change, the place that agrees with more of the answer; of equals the next one.
TEST(PredictedOutput, ChoosesThePlaceThatAgreesWithMost) {
  const Tokens text = {1, 2, 7, 3, 4, 1, 2, 8, 3, 4, 1, 2, 9, 3, 5};
  PredictedOutput predicted(text);
  EXPECT_EQ(next_of(predicted, {1, 2, 70, 3}), (Tokens{4, 1, 2})) << "the nearest";
  EXPECT_EQ(next_of(predicted, {1, 2, 70, 3, 4, 1, 2}), (Tokens{8, 3, 4}));
  EXPECT_EQ(next_of(predicted, {1, 2, 70, 3, 4, 1, 2, 9, 3}), (Tokens{5})) << "it left out a line";
}

TEST(PredictedOutput, OneTokenThatAgreesFarAwayIsNoPlace) {
  Tokens text(100, 0);
  for (size_t i = 0; i < text.size(); ++i) text[i] = static_cast<int32_t>(i);
  PredictedOutput predicted(text);
  EXPECT_EQ(next_of(predicted, {0, 1, 80}), (Tokens{}));
  EXPECT_EQ(next_of(predicted, {0, 1, 80, 81}), (Tokens{82, 83, 84}));
}

}  // namespace
}  // namespace quire
