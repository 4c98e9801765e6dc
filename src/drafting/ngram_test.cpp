#include "drafting/ngram.h"

#include <gtest/gtest.h>

#include "drafting/ngram_index.h"
#include "drafting/test_decoding.h"

namespace quire {
namespace {

std::unique_ptr<Drafter> drafter(int min, int max) { return make_ngram_drafter({.ngram_max = max, .ngram_min = min}); }

Tokens proposal(Drafter& drafter, const TestSequence& sequence) { return propose(drafter, sequence).tokens; }

TEST(Ngram, ProposesWhatFollowedTheLastTokensBefore) {
  const auto ngram = drafter(2, 4);
  TestSequence sequence = with_prompt(1, {1, 2, 3, 4, 5, 9, 2, 3});
  sequence.max_drafts = 3;
  EXPECT_EQ(proposal(*ngram, sequence), (Tokens{4, 5, 9}));
  sequence.tokens.push_back(7);
  EXPECT_EQ(proposal(*ngram, sequence), Tokens{});
}

TEST(Ngram, TheLongestMatchWinsAndThenTheLastOne) {
  const auto ngram = drafter(1, 3);
  TestSequence sequence = with_prompt(1, {1, 2, 3, 10, 0, 2, 3, 20, 3, 30, 1, 2, 3});
  sequence.max_drafts = 1;
  EXPECT_EQ(proposal(*ngram, sequence), Tokens{10});
  sequence = with_prompt(2, {1, 2, 3, 10, 1, 2, 3, 20, 9, 9, 1, 2, 3});
  sequence.max_drafts = 1;
  EXPECT_EQ(proposal(*ngram, sequence), Tokens{20});
}

TEST(Ngram, AMatchHasAtLeastTheLeastNumberOfTokens) {
  const TestSequence sequence = with_prompt(1, {1, 2, 3, 4, 8, 2, 3});
  EXPECT_EQ(proposal(*drafter(3, 5), sequence), Tokens{});
  EXPECT_FALSE(proposal(*drafter(2, 5), sequence).empty());
  EXPECT_EQ(proposal(*drafter(8, 9), sequence), Tokens{});  // longer than the sequence
}

TEST(Ngram, ALoopGoesOnAtFullLength) {
  TestSequence sequence = with_prompt(1, {5, 6, 7, 5, 6});
  sequence.max_drafts = 8;
  EXPECT_EQ(proposal(*drafter(2, 4), sequence), (Tokens{7, 5, 6, 7, 5, 6, 7, 5}));
}

TEST(Ngram, ALongerMatchGivesMoreDrafts) {
  TestSequence sequence = with_prompt(1, {});
  for (int32_t i = 0; i < 40; ++i) sequence.tokens.push_back(i);
  sequence.max_drafts = 100;
  for (int32_t length = 1; length <= 4; ++length) {
    TestSequence repeated = sequence;
    repeated.tokens.push_back(99);
    for (int32_t i = 0; i < length; ++i) repeated.tokens.push_back(5 + i);
    EXPECT_EQ(proposal(*drafter(1, 8), repeated).size(), static_cast<size_t>(4 * length));
    repeated.min_drafts = 4 * length + 1;
    EXPECT_EQ(proposal(*drafter(1, 8), repeated), Tokens{});
  }
}

TEST(Ngram, WhatItProposesDoesNotDependOnWhenItWasAsked) {
  std::mt19937 random(7);
  const auto always = drafter(2, 5);
  const Tokens text = repetitive_tokens(random, 600, 0, 20);
  for (size_t length = 1; length <= text.size(); ++length) {
    const TestSequence sequence = with_prompt(1, Tokens(text.begin(), text.begin() + static_cast<int64_t>(length)));
    const Tokens proposed = proposal(*always, sequence);
    if (length % 7 == 0) {
      EXPECT_EQ(proposed, proposal(*drafter(2, 5), sequence)) << length;
    }
  }
}

// The longest match by comparing everything with everything.
int64_t longest_match_length(const Tokens& text, int64_t max_length) {
  const auto size = static_cast<int64_t>(text.size());
  int64_t longest = 0;
  for (int64_t end = 1; end < size; ++end) {
    int64_t length = 0;
    while (length < std::min(end, max_length) &&
           text[static_cast<size_t>(end - 1 - length)] == text[static_cast<size_t>(size - 1 - length)]) {
      ++length;
    }
    longest = std::max(longest, length);
  }
  return longest;
}

TEST(NgramIndex, FindsTheLongestMatch) {
  std::mt19937 random(8);
  const Tokens text = repetitive_tokens(random, 400, 0, 200);
  NgramIndex index(2);
  for (size_t length = 1; length <= text.size(); ++length) {
    const Tokens known(text.begin(), text.begin() + static_cast<int64_t>(length));
    index.extend(known);
    const NgramIndex::Match match = index.longest_match(known, 6);
    const int64_t longest = longest_match_length(known, 6);
    EXPECT_EQ(match.length, longest < 2 ? 0 : longest) << length;
  }
}

TEST(NgramIndex, TakesAFewBytesATokenWhateverTheTokensAre) {
  for (const int32_t num_distinct : {1, 2, 1000000}) {
    Tokens text;
    for (int32_t i = 0; i < 100000; ++i) text.push_back(i % num_distinct);
    NgramIndex index(2);
    for (size_t length = 1000; length <= text.size(); length += 1000) index.extend(std::span(text).first(length));
    EXPECT_LE(index.memory_bytes(), text.size() * 20);
  }
}

}  // namespace
}  // namespace quire
