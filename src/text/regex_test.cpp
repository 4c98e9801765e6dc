#include "text/regex.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace quire {
namespace {

std::vector<std::string> matches(std::string_view expression, std::string_view text) {
  std::vector<std::string> found;
  TextRegex(expression).for_each_match(text, [&](size_t begin, size_t end) {
    found.emplace_back(text.substr(begin, end - begin));
  });
  return found;
}

using Strings = std::vector<std::string>;

TEST(TextRegex, FollowsOnigurumaWhereItDiffersFromPcre) {
  EXPECT_EQ(matches(R"(\s+)", "a \u180e b"), (Strings{" ", " "}));  // U+180E is no space
  EXPECT_EQ(matches(R"(\h+)", "xfa9g"), (Strings{"fa9"}));          // hexadecimal digits
  EXPECT_EQ(matches(R"((?m)a.b)", "a\nb"), (Strings{"a\nb"}));      // m lets the dot match a newline
  EXPECT_EQ(matches(R"(a.b)", "a\nb"), (Strings{}));
  EXPECT_EQ(matches(R"(^b)", "a\nb"), (Strings{"b"}));                    // ^ is always at lines
  EXPECT_EQ(matches(R"([a-z&&[^x]]+)", "axb"), (Strings{"a", "b"}));      // intersection
  EXPECT_EQ(matches(R"([^[ab]\s]+)", "a cd b"), (Strings{"cd"}));         // nested class
  EXPECT_EQ(matches(R"(\p{N}{1,3}+)", "1234567"), (Strings{"1234567"}));  // a second repetition
  EXPECT_EQ(matches(R"(\u4e00)", "\u4e00"), (Strings{"\u4e00"}));
  EXPECT_EQ(matches(R"([]x]+)", "a]x"), (Strings{"]x"}));
}

TEST(TextRegex, KnowsCharactersOfLaterUnicodeVersions) {
  EXPECT_EQ(matches(R"(\p{L}+)", "a\U00031350b"), (Strings{"a\U00031350b"}));  // CJK extension H, Unicode 15
  EXPECT_EQ(matches(R"(\p{Nd}+)", "\U00010D40"), (Strings{"\U00010D40"}));     // Garay digit, Unicode 16
}

TEST(TextRegex, EmptyMatches) {
  EXPECT_EQ(matches("a*", "baac"), (Strings{"", "aa", ""}));
  EXPECT_EQ(matches("", ""), (Strings{""}));
}

TEST(TextRegex, HostileExpressionsAreErrors) {
  EXPECT_THROW(TextRegex("(a"), Error);
  EXPECT_THROW(TextRegex("[a"), Error);
  EXPECT_THROW(TextRegex("\\"), Error);
  EXPECT_THROW(TextRegex(std::string(100'000, 'a')), Error);
  EXPECT_THROW(TextRegex(std::string(5'000, '(')), Error);
  EXPECT_THROW(TextRegex(std::string(5'000, '[')), Error);
  EXPECT_THROW(matches("(x+x+)+[yz]", std::string(5'000, 'x')), Error);
  EXPECT_THROW(matches("(?:a|a)*[bc]", std::string(60, 'a')), Error);
}

TEST(TextRegex, LongMatchesDoNotOverflow) {
  EXPECT_EQ(matches(R"(\s*[\r\n]+|\s+(?!\S)|\s+)", std::string(300'000, ' ') + "a").size(), 2u);
  EXPECT_EQ(matches(R"([^\r\n\p{L}\p{N}]?\p{L}+)", std::string(300'000, 'a')).size(), 1u);
}

}  // namespace
}  // namespace quire
