#include "grammar/grammar.h"

#include <gtest/gtest.h>

#include <string>

#include "base/error.h"
#include "grammar/regular.h"

namespace quire {
namespace {

struct ExpressionCase {
  std::string pattern;
  bool is_anchored;
  std::vector<std::string> fitting, others;
};

std::shared_ptr<const Grammar> expression_grammar(const std::string& pattern, bool is_anchored) {
  GrammarBuilder builder;
  return builder.build(builder.terminal(builder.expression(pattern, is_anchored)));
}

TEST(Expression, MeansWhatEcmaSays) {
  const std::vector<ExpressionCase> cases = {
      {"abc", true, {"abc"}, {"", "ab", "abcd", "xabc"}},
      {"abc", false, {"abc", "xabcx", "ababc"}, {"", "ab", "acb"}},
      {"^ab|c$", false, {"ab", "abx", "xc", "c"}, {"xab", "cx"}},
      {"^(a|b)*$", false, {"", "abba"}, {"abc"}},
      {"(^a|b)+c", false, {"ac", "abc", "xbbc", "bc"}, {"xac", "c"}},
      {"a{2,4}?", true, {"aa", "aaaa"}, {"a", "aaaaa"}},
      {"a{,3}", true, {"a{,3}"}, {"aa"}},
      {"[^a-c\\d]", true, {"x", "é", "😀"}, {"a", "5", "xx"}},
      {"[\\w-]+", true, {"a-b_9"}, {"a b"}},
      {"\\p{Lu}\\p{Ll}+", true, {"Éa", "Zz"}, {"zz", "ZZ"}},
      {"\\u0041\\x42\\u{43}\\cJ", true, {"ABC\n"}, {"ABC"}},
      {"\\uD83D\\uDE00", true, {"😀"}, {""}},
      {"a.c", true, {"abc", "aéc"}, {"a\nc", "ac"}},
      {"(?:a(?<n>b)?)*", true, {"", "aab", "ab"}, {"b"}},
      {"^(?=.*\\d)(?=.*[a-z]).{3,5}$", false, {"ab1", "1xxxx"}, {"abc", "123", "a1", "abcde1"}},
      {"^(?!foo)\\w+$", false, {"bar", "fo", "xfoo"}, {"foo", "foobar", ""}},
      {"a(?=b)", false, {"ab", "xab"}, {"ac", "a"}},
      {"", true, {""}, {"a"}},
      {"", false, {"", "a"}, {}},
      {"(a*)*b", true, {"b", "aab"}, {"a"}},
      {"(a|aa){2,1000}", true, {"aa", "aaaaa"}, {"a"}},
      {"a{1000000}", true, {}, {"aaa"}},
  };
  for (const ExpressionCase& one : cases) {
    const auto grammar = expression_grammar(one.pattern, one.is_anchored);
    for (const std::string& text : one.fitting) {
      EXPECT_TRUE(fits(*grammar, text)) << one.pattern << " : " << text;
      for (size_t i = 0; i < text.size(); ++i) EXPECT_TRUE(may_begin(*grammar, text.substr(0, i)));
    }
    for (const std::string& text : one.others) EXPECT_FALSE(fits(*grammar, text)) << one.pattern << " : " << text;
  }
}

TEST(Expression, RefusesByPlace) {
  const std::pair<std::string, std::string> cases[] = {
      {"(a)\\1", "byte 5"}, {"a(?<=b)", "byte 1"},   {"a(b(?=c))", "byte 3"}, {"(a", "byte 2"},
      {"a)", "byte 1"},     {"[b-a]", "byte 4"},     {"[abc", "byte 0"},      {"*a", "byte 0"},
      {"a{3,2}", "byte 6"}, {"\\p{Nope}", "byte 8"}, {"\\bword", "byte 2"},   {"a{10000000}", "byte 11"},
  };
  for (const auto& [pattern, place] : cases) {
    try {
      expression_grammar(pattern, true);
      ADD_FAILURE() << pattern;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(place), std::string::npos) << pattern << ": " << error.what();
    }
  }
  EXPECT_THROW(expression_grammar(std::string(100'000, '('), true), Error);
}

TEST(Grammar, IntersectsAndComplements) {
  GrammarBuilder builder;
  const Regex words = builder.expression("[a-z]{1,20}", true);
  const Regex no_secret = builder.complement(builder.expression("secret", false));
  const Regex both[] = {words, no_secret};
  const auto grammar = builder.build(builder.terminal(builder.all_of(both)));
  EXPECT_TRUE(fits(*grammar, "secre"));
  EXPECT_TRUE(may_begin(*grammar, "secre"));
  EXPECT_FALSE(may_begin(*grammar, "secret"));
  EXPECT_FALSE(fits(*grammar, ""));
}

TEST(RegularLanguages, PartsThatContradictAnotherAreLeftOut) {
  RegularLanguages languages({});
  const auto word = [&](const char* text) { return languages.repeat(languages.literal(text), 1, 20); };
  const RegularLanguages::Id x = word("ab"), y = word("a"), z = word("abab");
  const auto no_x = languages.negate(x), no_z = languages.negate(z);
  EXPECT_EQ(languages.all_of({x, languages.any_of({no_x, y})}), languages.all_of({x, y}));
  const auto neither = languages.any_of({languages.all_of({y, no_x}), no_z});
  EXPECT_EQ(languages.all_of({x, z, neither}), RegularLanguages::kNothing);
  EXPECT_EQ(languages.all_of({x, neither}), languages.all_of({x, no_z}));
  EXPECT_TRUE(languages.is_alive(languages.all_of({x, neither}))) << "ab";
}

TEST(Grammar, EscapesForJson) {
  GrammarBuilder builder;
  const Regex raw = builder.all_of(
      std::vector<Regex>{builder.expression("[^b]{1,3}", true), builder.complement(builder.literal("\""))});
  const auto grammar = builder.build(builder.terminal(builder.json_escaped(raw)));
  EXPECT_TRUE(fits(*grammar, "\\\"\\\""));
  EXPECT_FALSE(fits(*grammar, "\\\""));
  EXPECT_TRUE(fits(*grammar, "\\n\\u0001é"));
  EXPECT_FALSE(fits(*grammar, "\n"));
  EXPECT_FALSE(fits(*grammar, "ab"));
}

TEST(Grammar, RulesMayBeRecursiveOnEitherSide) {
  GrammarBuilder builder;
  const auto word = [&](std::string_view text) { return builder.terminal(builder.literal(text)); };
  const Symbol sum = builder.declare("sum"), nest = builder.declare("nest");
  builder.define(sum, builder.choice(std::vector{builder.sequence(std::vector{sum, word("+"), nest}), nest}));
  const Symbol inner[] = {word("("), sum, word(")")};
  builder.define(nest, builder.choice(std::vector{word("x"), builder.sequence(inner), builder.sequence({})}));
  const auto grammar = builder.build(sum);
  for (const std::string text : {"", "x", "x+x", "(x+(x))+x", "+", "()"}) EXPECT_TRUE(fits(*grammar, text)) << text;
  for (const std::string text : {"xx", "(x", "x)", "a"}) EXPECT_FALSE(fits(*grammar, text)) << text;
  EXPECT_TRUE(may_begin(*grammar, "((x+"));
}

TEST(Grammar, CountsRepetitions) {
  GrammarBuilder builder;
  const Symbol pair[] = {builder.terminal(builder.expression("a?", true)), builder.terminal(builder.literal("b"))};
  const auto grammar = builder.build(builder.repeat(builder.sequence(pair), 2, 3));
  for (const std::string text : {"bb", "abab", "babab"}) EXPECT_TRUE(fits(*grammar, text)) << text;
  for (const std::string text : {"", "ab", "bbbb"}) EXPECT_FALSE(fits(*grammar, text)) << text;
}

TEST(Grammar, TextUntilTheFirstEnd) {
  GrammarBuilder builder;
  const Symbol digit = builder.terminal(builder.expression("\\d", true));
  const GrammarBuilder::Branch branches[] = {{"<a>", digit}, {"<ab>", builder.terminal(builder.literal("!"))}};
  const auto grammar = builder.build(builder.text_until(branches, true));
  for (const std::string text : {"", "free <", "free <a>5", "<<ab>!"}) EXPECT_TRUE(fits(*grammar, text)) << text;
  for (const std::string text : {"<a>", "<a> <a>5", "<ab>5"}) EXPECT_FALSE(fits(*grammar, text)) << text;
}

TEST(Grammar, RefusesWhatCannotBeBuilt) {
  GrammarBuilder undefined;
  EXPECT_THROW(undefined.build(undefined.declare("missing")), Error);
  GrammarBuilder endless;
  const Symbol rule = endless.declare("r");
  endless.define(rule, endless.sequence(std::vector{endless.terminal(endless.literal("a")), rule}));
  EXPECT_THROW(endless.build(rule), Error);
  GrammarBuilder counted;
  EXPECT_THROW(counted.repeat(counted.literal("a"), 0, 10'000'000), Error);
}

}  // namespace
}  // namespace quire
