#include "dialogue/stop_matcher.h"

#include <gtest/gtest.h>

namespace quire {
namespace {

std::string feed(StopMatcher& matcher, std::string_view text, size_t piece) {
  std::string out;
  for (size_t i = 0; i < text.size(); i += piece) out += matcher.push(text.substr(i, piece));
  return out + matcher.finish();
}

TEST(StopMatcher, StopsBeforeTheStringHoweverItIsSplit) {
  for (size_t piece = 1; piece < 12; ++piece) {
    StopMatcher matcher({"\nUser:", "###"}, false);
    EXPECT_EQ(feed(matcher, "one\n\nUse two\nUser: three ###", piece), "one\n\nUse two") << piece;
    EXPECT_EQ(matcher.matched(), "\nUser:");
  }
}

TEST(StopMatcher, IncludesTheStringWhenAsked) {
  StopMatcher matcher({"END"}, true);
  EXPECT_EQ(feed(matcher, "text ENDING", 2), "text END");
}

TEST(StopMatcher, ReleasesHeldTextThatDoesNotMatch) {
  StopMatcher matcher({"aab"}, false);
  EXPECT_EQ(matcher.push("aaa"), "a");
  EXPECT_EQ(matcher.push("b"), "");
  EXPECT_TRUE(matcher.is_matched());
  StopMatcher other({"aab"}, false);
  EXPECT_EQ(other.push("xaa"), "x");
  EXPECT_EQ(other.finish(), "aa");
  EXPECT_FALSE(other.is_matched());
}

TEST(StopMatcher, TheEarliestMatchWinsThenTheLongest) {
  StopMatcher matcher({"b", "abc", "ab"}, false);
  EXPECT_EQ(matcher.push("xabc"), "x");
  EXPECT_EQ(matcher.matched(), "abc");
}

}  // namespace
}  // namespace quire
