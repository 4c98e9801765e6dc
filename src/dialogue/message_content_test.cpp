// Messages of several parts and without content, through templates of every kind.
#include "dialogue/message_content.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>

namespace quire {
namespace {

std::string render(const ChatTemplate& by, const json::array& messages) {
  return by.render(chat_context(fit_content(messages, by), nullptr, nullptr, false)).text;
}

json::array user(json::value content) { return {json::object{{"role", "user"}, {"content", std::move(content)}}}; }

const json::array kParts = {json::object{{"type", "text"}, {"text", "first"}},
                            json::object{{"type", "text"}, {"text", "second"}}};

TEST(MessageContent, PartsGoToTemplatesThatWalkThem) {
  const ChatTemplate text = ChatTemplate::parse("{% for m in messages %}{{ m.content }}{% endfor %}");
  EXPECT_EQ(render(text, user(kParts)), "first\nsecond");
  const ChatTemplate parts =
      ChatTemplate::parse("{% for m in messages %}{% for p in m.content %}[{{ p.text }}]{% endfor %}{% endfor %}");
  EXPECT_EQ(render(parts, user(kParts)), "[first][second]");
  EXPECT_EQ(render(parts, user("one")), "[one]");
  const ChatTemplate either = ChatTemplate::parse(
      "{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}"
      "{% for p in m.content %}<{{ p.text }}>{% endfor %}{% endif %}{% endfor %}");
  EXPECT_EQ(render(either, user(kParts)), "<first><second>");
  EXPECT_EQ(render(either, user("one")), "one");
}

TEST(MessageContent, NullStaysNullWhereATemplateAsks) {
  const json::array messages = {json::object{{"role", "user"}, {"content", "a"}},
                                json::object{{"role", "assistant"}, {"content", nullptr}}};
  const ChatTemplate asks = ChatTemplate::parse(
      "{% for m in messages %}{% if m.content is none %}nothing{% else %}[{{ m.content }}]{% endif %}{% endfor %}");
  EXPECT_TRUE(asks.handles_null_content());
  EXPECT_EQ(render(asks, messages), "[a]nothing");
  const ChatTemplate writes = ChatTemplate::parse("{% for m in messages %}[{{ m.content }}]{% endfor %}");
  EXPECT_FALSE(writes.handles_null_content());
  EXPECT_EQ(render(writes, messages), "[a][]");
  const ChatTemplate fails = ChatTemplate::parse("{% for m in messages %}[{{ m.content.strip() }}]{% endfor %}");
  EXPECT_FALSE(fails.handles_null_content());
  EXPECT_EQ(render(fails, messages), "[a][]");
}

// The published templates, where the test data are installed.
TEST(MessageContent, PublishedTemplatesShowBothParts) {
  const char* const data = std::getenv("QUIRE_TEST_DATA");
  const std::filesystem::path folder = std::filesystem::path(data == nullptr ? "" : data) / "templates";
  if (data == nullptr || !std::filesystem::exists(folder)) GTEST_SKIP() << "QUIRE_TEST_DATA has no templates";
  int num_shown = 0;
  int num_templates = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (entry.path().extension() != ".jinja") continue;
    std::ifstream file(entry.path());
    try {
      const ChatTemplate by = ChatTemplate::parse({std::istreambuf_iterator<char>(file), {}});
      json::object context = chat_context(fit_content(user(kParts), by), nullptr, nullptr, true);
      for (const char* token : {"bos_token", "eos_token", "unk_token", "pad_token"}) context[token] = "";
      const std::string shown = by.render(context).text;
      ++num_templates;
      EXPECT_EQ(shown.find("'type'"), std::string::npos) << entry.path();
      num_shown += shown.find("first") != std::string::npos && shown.find("second") != std::string::npos ? 1 : 0;
    } catch (const std::exception&) {
      continue;  // a template that wants more than one message
    }
  }
  EXPECT_GT(num_templates, 0);
  EXPECT_GE(num_shown, num_templates * 9 / 10) << num_shown << " of " << num_templates;
}

}  // namespace
}  // namespace quire
