#include "apps/conversations.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <fstream>

#include "base/error.h"

namespace quire {
namespace {

class ConversationsTest : public testing::Test {
 protected:
  ConversationsTest() {
    std::string pattern = testing::TempDir() + "quire_conversations_XXXXXX";
    folder_ = ::mkdtemp(pattern.data());
  }
  ~ConversationsTest() override { std::filesystem::remove_all(folder_); }

  void write(const std::string& name, const std::string& text) const { std::ofstream(folder_ / name) << text; }

  std::filesystem::path folder_;
};

const json::array kMessages = {{{"role", "system"}, {"content", "Be short."}},
                               {{"role", "user"}, {"content", "Gr\u00fc\u00dfe,\n\"you\""}},
                               {{"role", "assistant"}, {"content", ""}}};

TEST_F(ConversationsTest, WhatIsSavedIsLoaded) {
  const Conversations conversations(folder_ / "new" / "folder");
  EXPECT_TRUE(conversations.names().empty());
  conversations.save("second", {});
  conversations.save("first.v2", kMessages);
  EXPECT_EQ(conversations.load("first.v2"), kMessages);
  EXPECT_EQ(conversations.names(), (std::vector<std::string>{"first.v2", "second"}));
  conversations.save("second", kMessages);
  EXPECT_EQ(conversations.load("second"), kMessages);
}

TEST_F(ConversationsTest, OnlyTheOwnerReadsThem) {
  Conversations(folder_).save("mine", kMessages);
  struct stat status = {};
  ASSERT_EQ(::stat((folder_ / "mine.json").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777U, 0600U);
}

TEST_F(ConversationsTest, NamesStayInTheFolder) {
  const Conversations conversations(folder_);
  for (const std::string& name : {std::string(), std::string("../other"), std::string("a/b"), std::string(".hidden"),
                                  std::string("two words"), std::string(300, 'a'), std::string("nul\0", 4)}) {
    EXPECT_THROW(conversations.save(name, kMessages), Error) << name;
    EXPECT_THROW(conversations.load(name), Error) << name;
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder_));
}

TEST_F(ConversationsTest, OtherFilesAreRefused) {
  const Conversations conversations(folder_);
  EXPECT_THROW(conversations.load("missing"), Error);
  for (const char* text : {"", "[", "[]", "{}", R"({"messages": {}})", R"({"messages": ["text"]})",
                           R"({"messages": [{"role": "user"}]})", R"({"messages": [{"role": "user", "content": 7}]})",
                           R"({"messages": [{"role": "tool", "content": "text"}]})"}) {
    write("other.json", text);
    EXPECT_THROW(conversations.load("other"), Error) << text;
  }
}

TEST_F(ConversationsTest, WhatIsInTheWayIsAnError) {
  write("file", "");
  EXPECT_THROW(Conversations(folder_ / "file" / "below").save("name", kMessages), Error);
}

}  // namespace
}  // namespace quire
