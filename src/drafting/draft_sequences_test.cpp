#include "drafting/draft_sequences.h"

#include <gtest/gtest.h>

#include <vector>

namespace quire {
namespace {

TEST(DraftSequence, RollBackKeepsGuessesThatWereRight) {
  DraftSequence sequence{.num_computed = 3, .guesses = {10, 11, 12}};
  sequence.roll_back(std::vector<int32_t>{1, 2, 3, 10, 11, 99, 5});
  EXPECT_EQ(sequence.num_computed, 5);
  EXPECT_TRUE(sequence.guesses.empty());
}

TEST(DraftSequence, TheLastKnownTokenIsComputedAgain) {
  DraftSequence sequence{.num_computed = 3, .guesses = {10, 11}};
  sequence.roll_back(std::vector<int32_t>{1, 2, 3, 10});
  EXPECT_EQ(sequence.num_computed, 3);
  sequence.roll_back(std::vector<int32_t>{1, 2, 3});
  EXPECT_EQ(sequence.num_computed, 2);
}

TEST(DraftSequences, AFullPoolTakesFromTheOneUsedLongestAgo) {
  DraftSequences sequences(4);
  for (const uint64_t id : {1, 2}) {
    sequences.begin_turn();
    DraftSequence& sequence = sequences.use(id);
    ASSERT_TRUE(sequences.reserve(sequence, 2 * kKvBlockSize));
    sequence.num_computed = 40;
  }
  EXPECT_EQ(sequences.num_free_blocks(), 0);
  sequences.begin_turn();
  DraftSequence& third = sequences.use(3);
  ASSERT_TRUE(sequences.reserve(third, 1));
  EXPECT_EQ(sequences.use(1).num_computed, 0);
  EXPECT_TRUE(sequences.use(1).blocks.empty());
  EXPECT_EQ(sequences.use(2).num_computed, 40);
  // All are in use now: nobody has to give way.
  EXPECT_FALSE(sequences.reserve(third, 3 * kKvBlockSize));
  sequences.drop(2);
  EXPECT_TRUE(sequences.reserve(third, 3 * kKvBlockSize));
  sequences.drop(1);
  sequences.drop(3);
  sequences.drop(77);
  EXPECT_EQ(sequences.num_free_blocks(), 4);
}

}  // namespace
}  // namespace quire
