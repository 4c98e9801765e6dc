#include "drafting/suffix_automaton.h"

#include <gtest/gtest.h>

#include <map>

#include "drafting/test_decoding.h"

namespace quire {
namespace {

constexpr int kMaxContext = 6;

struct Counted {
  int64_t count = 0;  // places where the context ends
  std::map<int32_t, int64_t> next;
};

// What followed `context`, by looking everywhere.
Counted count_places(const std::vector<Tokens>& texts, std::span<const int32_t> context) {
  Counted counted;
  for (const Tokens& text : texts) {
    for (size_t start = 0; start + std::max<size_t>(1, context.size()) <= text.size(); ++start) {
      if (!std::equal(context.begin(), context.end(), text.begin() + static_cast<int64_t>(start))) continue;
      ++counted.count;
      if (start + context.size() < text.size()) ++counted.next[text[start + context.size()]];
    }
  }
  return counted;
}

void expect_counts(const SuffixAutomaton& automaton, const std::vector<Tokens>& texts, SuffixAutomaton::Context context,
                   std::span<const int32_t> tokens) {
  const Counted expected = count_places(texts, tokens);
  ASSERT_EQ(automaton.count(context), expected.count);
  std::vector<SuffixAutomaton::Next> next;
  automaton.find_next(context, 1000, next);
  std::map<int32_t, int64_t> found;
  for (const SuffixAutomaton::Next& one : next) {
    EXPECT_LE(one.count, next[0].count);
    found[one.token] = one.count;
  }
  EXPECT_EQ(found, expected.next);
  EXPECT_EQ(found.size(), next.size());
}

TEST(SuffixAutomaton, CountsWhatFollowedEveryContext) {
  std::mt19937 random(3);
  for (const int32_t num_distinct : {1, 2, 3, 10}) {
    SuffixAutomaton automaton(kMaxContext);
    std::vector<Tokens> texts;
    for (int i = 0; i < 4; ++i) {
      automaton.begin_text();
      texts.emplace_back();
      for (const int32_t token : repetitive_tokens(random, 60, 0, num_distinct)) {
        automaton.append(token);
        texts.back().push_back(token);
        // Every end of the text.
        const auto length = std::min<size_t>(texts.back().size(), kMaxContext);
        SuffixAutomaton::Context context = automaton.end();
        ASSERT_EQ(context.length, static_cast<int32_t>(length));
        for (;; context = automaton.shorten(context)) {
          const auto context_tokens = std::span(texts.back()).last(static_cast<size_t>(context.length));
          expect_counts(automaton, texts, context, context_tokens);
          if (context.length == 0) break;
        }
      }
    }
    // Contexts that are no end.
    for (int i = 0; i < 200; ++i) {
      const Tokens& text = texts[random() % texts.size()];
      const size_t length = 1 + random() % kMaxContext;
      const auto context = std::span(text).subspan(random() % (text.size() - length), length);
      const SuffixAutomaton::Context found = automaton.match(context);
      ASSERT_EQ(found.length, static_cast<int32_t>(length));
      expect_counts(automaton, texts, found, context);
    }
  }
}

TEST(SuffixAutomaton, FindsTheLongestEndThatOccurred) {
  SuffixAutomaton automaton(kMaxContext);
  for (const int32_t token : {1, 2, 3, 4, 5}) automaton.append(token);
  EXPECT_EQ(automaton.match(Tokens{9, 2, 3}).length, 2);
  EXPECT_EQ(automaton.match(Tokens{2, 3, 9}).length, 0);
  EXPECT_EQ(automaton.match(Tokens{1, 2, 3, 5}).length, 1);
  EXPECT_EQ(automaton.match({}).length, 0);
  automaton.begin_text();
  automaton.append(6);
  EXPECT_EQ(automaton.match(Tokens{5, 6}).length, 1);  // not over the border of two texts
}

TEST(SuffixAutomaton, AdvancesAlongContextsOfBoundedLength) {
  SuffixAutomaton automaton(2);
  Tokens text;
  for (int i = 0; i < 40; ++i) text.insert(text.end(), {1, 2, 3, 4});
  for (const int32_t token : text) automaton.append(token);
  SuffixAutomaton::Context context = automaton.match(Tokens{1, 2});
  for (const int32_t token : {3, 4, 1, 2, 3, 4}) context = automaton.advance(context, token);
  EXPECT_EQ(context.length, 2);
  EXPECT_EQ(automaton.count(context), 40);  // of "3 4", not of all six
}

// Every string of `order` tokens of an alphabet of two once.
Tokens de_bruijn(int order) {
  Tokens bits;
  std::vector<bool> seen(size_t{1} << order);
  uint32_t window = 0;
  const auto mask = static_cast<uint32_t>(seen.size() - 1);
  seen[0] = true;
  for (size_t i = 0; i < seen.size(); ++i) {  // prefers a one
    const uint32_t one = (window << 1 | 1) & mask;
    window = seen[one] ? window << 1 & mask : one;
    seen[window] = true;
    bits.push_back(static_cast<int32_t>(window & 1));
  }
  return bits;
}

TEST(SuffixAutomaton, IsLinearInTheTokensWhateverTheyAre) {
  constexpr size_t kNumTokens = size_t{1} << 15;
  std::map<std::string, Tokens> texts;
  texts["de Bruijn"] = de_bruijn(15);
  Tokens fibonacci = {1};
  for (Tokens before = {0}; fibonacci.size() < kNumTokens;) {
    Tokens longer = fibonacci;
    longer.insert(longer.end(), before.begin(), before.end());
    before = std::exchange(fibonacci, std::move(longer));
  }
  fibonacci.resize(kNumTokens);
  texts["Fibonacci"] = fibonacci;
  for (size_t i = 0; i < kNumTokens; ++i) {
    texts["equal"].push_back(7);
    texts["alternating"].push_back(static_cast<int32_t>(i % 2));
    texts["distinct"].push_back(static_cast<int32_t>(i));
    texts["one at the end"].push_back(i + 1 == kNumTokens);
    texts["a a b b"].push_back(i < kNumTokens / 2);
    texts["a b b b"].push_back(i > 0);  // splits states most often
    texts["a with all others"].push_back(i % 2 == 0 ? 0 : static_cast<int32_t>(i));
  }
  for (const auto& [name, text] : texts) {
    ASSERT_EQ(text.size(), kNumTokens) << name;
    SuffixAutomaton once(24);
    for (const int32_t token : text) once.append(token);
    EXPECT_LE(once.num_states(), 2 * kNumTokens) << name;
    EXPECT_LE(once.num_edges(), 3 * kNumTokens) << name;
    EXPECT_LE(once.memory_bytes(), 256 * kNumTokens) << name;
    // Again, as texts of a store.
    SuffixAutomaton cut(24);
    for (size_t i = 0; i < text.size(); ++i) {
      if (i % 1000 == 0) cut.begin_text();
      cut.append(text[i]);
    }
    EXPECT_LE(cut.num_states(), 2 * kNumTokens) << name;
    EXPECT_LE(cut.num_edges(), 3 * kNumTokens) << name;
    EXPECT_EQ(cut.num_tokens(), static_cast<int64_t>(kNumTokens)) << name;
  }
}

}  // namespace
}  // namespace quire
