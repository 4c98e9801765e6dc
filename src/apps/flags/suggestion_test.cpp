#include "apps/flags/suggestion.h"

#include <gtest/gtest.h>

namespace quire {
namespace {

TEST(Suggestion, IsTheClosestWordOrNone) {
  const std::vector<std::string> flags = {"-t", "--port", "--prompt", "--host", "--temperature", "--top-p", "--top-k"};
  EXPECT_EQ(suggestion("--prot", flags), "--port");
  EXPECT_EQ(suggestion("--hosts", flags), "--host");
  EXPECT_EQ(suggestion("--temprature", flags), "--temperature");
  EXPECT_EQ(suggestion("--temp", flags), "--temperature");
  EXPECT_EQ(suggestion("--colour", flags), "");
  EXPECT_EQ(suggestion("-x", flags), "");
  EXPECT_EQ(suggestion("", flags), "");
  EXPECT_EQ(suggestion(std::string(100'000, 'x'), flags), "");
  const std::vector<std::string> commands = {"run", "serve", "plan"};
  EXPECT_EQ(suggestion("serv", commands), "serve");
  EXPECT_EQ(suggestion("rum", commands), "run");
  EXPECT_EQ(suggestion("pull", commands), "");
}

}  // namespace
}  // namespace quire
