// Configuration files: what their lines say, and what is told about lines that say nothing.
#include "apps/flags/config_file.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace quire {
namespace {

using Texts = std::vector<std::string>;

std::string message(const std::string& text) {
  try {
    parse_config(text, "q.yaml");
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(ConfigFile, ReadsKeysAndValues) {
  const std::vector<ConfigEntry> entries = parse_config(
      "---\r\n"
      "# a comment\n"
      "model: /models/a b#1.gguf   # behind a value\r\n"
      "\n"
      "host: \"a \\\"b\\\"\\n # c\"\n"
      "uds: 'it''s: here'\n"
      "api-key: [one, \"t,wo\", 'three' ]\n"
      "stop: # one a line\n"
      "  - first\n"
      "# between\n"
      "- \"- second\"\n"
      "no_webui: true\n"
      "cors-origin: []\n"
      "system: http://x:1",
      "q.yaml");
  ASSERT_EQ(entries.size(), 8u);
  const std::vector<std::pair<std::string, Texts>> expected = {{"model", {"/models/a b#1.gguf"}},
                                                               {"host", {"a \"b\"\n # c"}},
                                                               {"uds", {"it's: here"}},
                                                               {"api-key", {"one", "t,wo", "three"}},
                                                               {"stop", {"first", "- second"}},
                                                               {"no_webui", {"true"}},
                                                               {"cors-origin", {}},
                                                               {"system", {"http://x:1"}}};
  for (size_t i = 0; i < entries.size(); ++i) {
    EXPECT_EQ(entries[i].key, expected[i].first);
    EXPECT_EQ(entries[i].texts, expected[i].second) << entries[i].key;
  }
  EXPECT_EQ(entries[0].line, 3);
  EXPECT_EQ(entries[7].line, 14);
}

TEST(ConfigFile, ReadsTables) {
  const std::vector<ConfigEntry> entries = parse_config(
      "speculative-config:   # a table\n"
      "  method: ngram\n"
      "\n"
      "  # between\n"
      "  num_speculative_tokens: 5   # a number\n"
      "\tmin_probability: 0.5\n"
      "  adaptive: false\n"
      "  model: \"7\"\n"
      "port: 1\n",
      "q.yaml");
  ASSERT_EQ(entries.size(), 2u);
  EXPECT_EQ(entries[0].key, "speculative-config");
  EXPECT_TRUE(entries[0].texts.empty());
  EXPECT_EQ(json::serialize(entries[0].table),
            R"({"method":"ngram","num_speculative_tokens":5,"min_probability":5E-1,"adaptive":false,"model":"7"})");
  EXPECT_EQ(entries[1].texts, Texts{"1"});
}

TEST(ConfigFile, NamesTheLineThatIsWrong) {
  const std::string plain = "values are plain words, quoted texts or lists in brackets";
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"port: 1\nport 2", "q.yaml:2: expected 'key: value', such as 'port: 8080'"},
      {"port:1", "q.yaml:1: expected 'key: value', such as 'port: 8080'"},
      {"[serve]", "q.yaml:1: expected 'key: value', such as 'port: 8080'"},
      {"port: 1\n  host: a",
       "q.yaml:2: an indented line is no part of a list; write 'key: value' without blanks before"},
      {"stop:\n  - a\n  b: c",
       "q.yaml:3: an indented line is no part of a list; write 'key: value' without blanks before"},
      {"a:\n  b", "q.yaml:2: expected a line of the table, such as 'method: ngram'"},
      {"a:\n  b: c\n  - d", "q.yaml:3: expected a line of the table, such as 'method: ngram'"},
      {"a:\n  b: c\n  b: d", "q.yaml:3: 'b' is in the table twice"},
      {"a:\n  b:\n    c: d", "q.yaml:2: a table holds no table; write 'key: value'"},
      {"a:\n  b: [c]", "q.yaml:2: values of a table are words, numbers and quoted texts"},
      {"port: 1\n- 2", "q.yaml:2: expected 'key: value', such as 'port: 8080'"},
      {"a: 'b", "q.yaml:1: the quote ' is not closed in this line"},
      {"a: \"\\x\"", "q.yaml:1: between double quotes a backslash stands before n, t, \" or \\ only"},
      {"a: [b, c", "q.yaml:1: the list has no ']' in this line"},
      {"a: [b] c", "q.yaml:1: 'c' is too much; a value with blanks or '#' needs quotes"},
      {"a: \"b\" c", "q.yaml:1: 'c' is too much; a value with blanks or '#' needs quotes"},
      {"a: b: c", "q.yaml:1: a value with ':' needs quotes"},
      {"a: *x", "q.yaml:1: " + plain},
      {"a: |", "q.yaml:1: " + plain},
      {"a: {b: c}", "q.yaml:1: " + plain}};
  for (const auto& [text, expected] : cases) EXPECT_EQ(message(text), expected) << text;
}

}  // namespace
}  // namespace quire
