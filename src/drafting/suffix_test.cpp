#include "drafting/suffix.h"

#include <gtest/gtest.h>

#include "drafting/suffix_store.h"
#include "drafting/test_decoding.h"

namespace quire {
namespace {

std::unique_ptr<Drafter> drafter(SpeculationOptions options = {}) { return make_suffix_drafter(options); }

Tokens joined(std::initializer_list<Tokens> parts) {
  Tokens all;
  for (const Tokens& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

TEST(Suffix, ProposesWhatFollowedMostOften) {
  const Tokens prompt = joined({{1, 2, 3, 40}, {1, 2, 3, 50}, {1, 2, 3, 50}, {1, 2, 3, 60}, {1, 2, 3}});
  const auto suffix = drafter({.tree = false});
  TestSequence sequence = with_prompt(1, prompt);
  sequence.max_drafts = 1;
  EXPECT_EQ(propose(*suffix, sequence).tokens, Tokens{50});
}

TEST(Suffix, ATreeHasTheAlternatives) {
  const Tokens prompt = joined({{1, 2, 3, 40}, {1, 2, 3, 50}, {1, 2, 3, 50}, {1, 2, 3, 60}, {1, 2, 3}});
  TestSequence sequence = with_prompt(1, prompt);
  sequence.max_drafts = 20;
  const Drafts drafts = propose(*drafter({.suffix_factor = 6.0f, .suffix_min_probability = 0.2f}), sequence);
  Tokens first;
  for (size_t i = 0; i < drafts.size(); ++i) {
    if (drafts.parent_of(i) == -1) first.push_back(drafts.tokens[i]);
  }
  EXPECT_EQ(first.front(), 50);
  std::sort(first.begin(), first.end());
  EXPECT_EQ(first, (Tokens{40, 50, 60}));
  // Half of the time 50, a quarter 40 or 60.
  EXPECT_EQ(propose(*drafter({.suffix_min_probability = 0.3f}), sequence).tokens[0], 50);
  EXPECT_TRUE(propose(*drafter({.suffix_min_probability = 0.6f}), sequence).empty());
}

TEST(Suffix, ALongerContextGivesMoreDrafts) {
  Tokens text;
  for (int32_t i = 0; i < 40; ++i) text.push_back(i);
  for (const int num_repeated : {2, 4, 8}) {
    TestSequence sequence = with_prompt(1, text);
    sequence.tokens.push_back(99);
    for (int32_t i = 10; i < 10 + num_repeated; ++i) sequence.tokens.push_back(i);
    sequence.max_drafts = 100;
    EXPECT_EQ(propose(*drafter({.suffix_factor = 2.0f}), sequence).size(), static_cast<size_t>(2 * num_repeated));
    sequence.min_drafts = 2 * num_repeated + 1;
    EXPECT_TRUE(propose(*drafter({.suffix_factor = 2.0f}), sequence).empty());
  }
}

TEST(Suffix, RemembersAnswersAndServesThemUnderTheirSalt) {
  const auto suffix = drafter();
  TestSequence first = with_prompt(1, {7, 8, 9});
  first.tokens.insert(first.tokens.end(), {1, 2, 3, 4, 5, 6});
  first.salt = "red";
  EXPECT_TRUE(propose(*suffix, first).empty());
  finish(*suffix, first);
  TestSequence again = with_prompt(2, {7, 8, 9});
  again.salt = "red";
  EXPECT_EQ(propose(*suffix, again).tokens, (Tokens{1, 2, 3, 4, 5, 6}));
  TestSequence other = again;
  other.id = 3;
  other.salt = "blue";
  EXPECT_TRUE(propose(*suffix, other).empty());
  other.id = 4;
  other.salt = "";
  EXPECT_TRUE(propose(*suffix, other).empty());
}

TEST(Suffix, KeepsNothingOfPromptsWithoutAnAnswerAndNothingWithoutAStore) {
  const auto suffix = drafter({.suffix_max_tokens = 0});
  TestSequence sequence = with_prompt(1, {1, 2, 3, 1, 2});
  EXPECT_FALSE(propose(*suffix, sequence).empty());
  EXPECT_GT(suffix->memory_bytes(), 0u);
  sequence.tokens.push_back(3);
  finish(*suffix, sequence);
  EXPECT_EQ(suffix->memory_bytes(), 0u);
  const auto storing = drafter();
  finish(*storing, with_prompt(1, {1, 2, 3, 1, 2}));
  EXPECT_EQ(storing->memory_bytes(), 0u);
}

TEST(Suffix, TakesInALongPromptInParts) {
  const auto suffix = drafter();
  Tokens prompt;
  for (int32_t i = 0; i < 10000; ++i) prompt.push_back(i);
  prompt.insert(prompt.end(), {500, 501});
  const TestSequence sequence = with_prompt(1, prompt);
  EXPECT_TRUE(propose(*suffix, sequence).empty());
  EXPECT_TRUE(propose(*suffix, sequence).empty());
  EXPECT_EQ(propose(*suffix, sequence).tokens[0], 502);
}

TEST(SuffixStore, TheOldestAnswersLeave) {
  SuffixStore store(4000, 8);
  const auto knows = [&store](std::string_view salt, int32_t answer) {
    const Tokens end = {answer, answer + 1, answer + 2};
    for (const SuffixAutomaton* automaton : store.find(salt)) {
      if (automaton->match(end).length == 3) return true;
    }
    return false;
  };
  const auto add = [&store](std::string_view salt, int32_t answer) {
    Tokens tokens;
    for (int32_t i = 0; i < 100; ++i) tokens.push_back(answer + i);
    store.add(salt, tokens);
  };
  for (int32_t i = 0; i < 1000; ++i) {
    add(i % 3 == 0 ? "red" : "blue", i * 100);
    EXPECT_LE(store.num_tokens(), 4000);
    EXPECT_TRUE(knows(i % 3 == 0 ? "red" : "blue", i * 100));
    EXPECT_FALSE(knows(i % 3 == 0 ? "blue" : "red", i * 100));
  }
  EXPECT_FALSE(knows("red", 0));
  EXPECT_TRUE(knows("blue", 98500));
  EXPECT_GE(store.num_tokens(), 1000);
}

TEST(SuffixStore, ManySaltsAndLongAnswersStayBounded) {
  SuffixStore store(4000, 8);
  Tokens tokens;
  for (int32_t i = 0; i < 5000; ++i) tokens.push_back(i);
  store.add("one", tokens);
  EXPECT_EQ(store.num_tokens(), 1000);  // a quarter of the store: the end of the answer
  EXPECT_EQ(store.find("one").at(0)->match(Tokens{4998, 4999}).length, 2);
  for (int i = 0; i < 10000; ++i) store.add(std::to_string(i) + std::string(100, 'x'), Tokens{1, 2, 3});
  EXPECT_LE(store.memory_bytes(), 1000000u);
  EXPECT_TRUE(store.find("one").empty());
}

}  // namespace
}  // namespace quire
