#include "drafting/lookahead.h"

#include <gtest/gtest.h>

#include "drafting/ngram.h"
#include "drafting/ngram_pool.h"
#include "drafting/test_decoding.h"

namespace quire {
namespace {

constexpr int32_t kNumTokens = 61;

// Runs through all tokens before one comes again.
int32_t next_in_cycle(const Tokens& tokens) { return (tokens.back() * 2 + 7) % kNumTokens; }

std::unique_ptr<Drafter> drafter(SpeculationOptions options = {}) { return make_lookahead_drafter(options); }

TEST(NgramPool, KeepsTheLatestOfEachFirstToken) {
  NgramPool pool(3, 2);
  const auto found = [&pool](int32_t token) {
    const std::span<const int32_t> rests = pool.find(token);
    return Tokens(rests.begin(), rests.end());
  };
  EXPECT_EQ(found(1), Tokens{});
  pool.add(Tokens{1, 2, 3});
  pool.add(Tokens{1, 4, 5});
  pool.add(Tokens{2, 2, 2});
  EXPECT_EQ(found(1), (Tokens{4, 5, 2, 3}));
  pool.add(Tokens{1, 2, 3});
  EXPECT_EQ(found(1), (Tokens{2, 3, 4, 5}));
  pool.add(Tokens{1, 6, 6});
  EXPECT_EQ(found(1), (Tokens{6, 6, 2, 3}));
  EXPECT_EQ(found(2), (Tokens{2, 2}));
}

TEST(Lookahead, TheTreeHasGuessesFirstAndThenWholeColumns) {
  const auto lookahead = drafter({.lookahead_window = 2, .lookahead_ngram = 4, .lookahead_guesses = 2});
  TestSequence sequence = with_prompt(1, {1, 2, 3, 4, 1, 2, 5, 6, 1});
  sequence.max_drafts = 16;
  const Drafts drafts = propose(*lookahead, sequence);
  // Both n-grams that begin with 1, with a common token.
  EXPECT_EQ(Tokens(drafts.tokens.begin(), drafts.tokens.begin() + 5), (Tokens{2, 5, 6, 3, 4}));
  EXPECT_EQ(Tokens(drafts.parents.begin(), drafts.parents.begin() + 5), (Tokens{-1, 0, 1, 0, 3}));
  EXPECT_LE(drafts.size(), 5u + 2 * 3);
}

TEST(Lookahead, TheModelsOwnNgramsAreAcceptedBeforeAnythingRepeats) {
  const auto lookahead = drafter();
  TestSequence sequence = with_prompt(1, {3, 50, 17, 22, 0});
  sequence.max_drafts = 16;
  decode(*lookahead, next_in_cycle, sequence, 55);
  for (size_t i = 5; i < sequence.tokens.size(); ++i) {
    ASSERT_EQ(sequence.tokens[i], (sequence.tokens[i - 1] * 2 + 7) % kNumTokens);
  }
  EXPECT_LE(sequence.num_steps, 45);
  const auto ngram = make_ngram_drafter({});
  TestSequence plain = with_prompt(1, {3, 50, 17, 22, 0});
  decode(*ngram, next_in_cycle, plain, 55);
  EXPECT_EQ(plain.num_accepted, 0);
}

TEST(Lookahead, WithoutTreesItProposesChains) {
  const auto lookahead = drafter({.tree = false});
  TestSequence sequence = with_prompt(1, {3, 50, 17, 22, 0});
  // The last token alone decides: a right guess makes those after it right in the step after.
  for (int step = 0; step < 100; ++step) {
    const Drafts drafts = propose(*lookahead, sequence);
    EXPECT_TRUE(drafts.is_chain());
    EXPECT_EQ(drafts.size(), 8u);
    verify(*lookahead, next_in_cycle, sequence, drafts, drafts.size());
  }
  EXPECT_GT(sequence.num_accepted, 100);
}

TEST(Lookahead, FewDraftsAreGuesses) {
  const auto lookahead = drafter();
  TestSequence sequence = with_prompt(1, {1, 2, 3, 4, 5, 6, 1});
  sequence.max_drafts = 3;
  EXPECT_EQ(propose(*lookahead, sequence).tokens, (Tokens{2, 3, 4}));
  sequence.max_drafts = 2;
  EXPECT_EQ(propose(*lookahead, sequence).tokens, (Tokens{2, 3}));
}

}  // namespace
}  // namespace quire
