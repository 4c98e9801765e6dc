#include "grammar/gbnf.h"

#include <gtest/gtest.h>

#include <string>

#include "base/error.h"

namespace quire {
namespace {

std::shared_ptr<const Grammar> grammar_of(const std::string& text) {
  GrammarBuilder builder;
  return builder.build(gbnf(builder, text));
}

struct GrammarCase {
  std::string grammar;
  std::vector<std::string> fitting, others;
};

TEST(Gbnf, MeansWhatItsSyntaxSays) {
  const std::vector<GrammarCase> cases = {
      {"root ::= \"a\" | [b-d]+ # a comment\n", {"a", "bcd"}, {"", "ab"}},
      {"root  ::= item{2,3}\nitem ::= [^\"\\n] .?\n", {"ab", "abc", "é\n😀"}, {"a", "\"\""}},
      {"root ::= (\n \"x\"\n | \"y\"\n)* end\nend ::= \"\\x41\\u00e9\\U0001F600\\\"\"", {"Aé😀\"", "xyAé😀\""}, {"x"}},
      {"root ::= sum\nsum ::= sum \"+\" term | term\nterm ::= \"(\" sum \")\" | [0-9]+",
       {"1", "1+(2+3)+4"},
       {"1+", "(1"}},
      {"root ::= a-b \"\"\na-b ::= 'q' {,2}\n  | \"z\"", {"", "q", "qq", "z"}, {"qqq"}},
      {"root ::= \"<\" <tool> [a\\]-]", {"<<tool>]", "<<tool>-"}, {"<"}},
      {"root ::= \"a\" root | ", {"", "aaa"}, {"b"}},
  };
  for (const GrammarCase& one : cases) {
    const auto grammar = grammar_of(one.grammar);
    for (const std::string& text : one.fitting) EXPECT_TRUE(fits(*grammar, text)) << one.grammar << " : " << text;
    for (const std::string& text : one.others) EXPECT_FALSE(fits(*grammar, text)) << one.grammar << " : " << text;
  }
}

TEST(Gbnf, RefusesByLine) {
  const std::pair<std::string, std::string> cases[] = {
      {"root ::= \"a\"\n\nb ::= )", "line 3"},
      {"root ::= a\n", "line 1: the rule 'a' is used but not defined"},
      {"r ::= \"a\"", "without a rule 'root'"},
      {"root ::= \"a\n", "does not end"},
      {"root ::= \"a\"{3,1}", "reversed"},
      {"root ::= \"a\"{10000000}", "counts too far"},
      {"root ::= \"a\"\nroot ::= \"b\"", "defined twice"},
      {"root ::= <[12]>", "by number"},
      {"root = \"a\"", "'::='"},
      {"root ::= root", "no text fits"},
  };
  for (const auto& [text, message] : cases) {
    try {
      grammar_of(text);
      ADD_FAILURE() << text;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(message), std::string::npos) << text << ": " << error.what();
    }
  }
}

TEST(Gbnf, RepetitionsOfRepetitionsNestToALimit) {
  const std::string stars(100'000, '*');
  std::string groups = "\"a\" root";
  for (int i = 0; i < 100; ++i) groups = "(" + groups + ")" + stars.substr(0, 100);
  for (const std::string& text :
       {"root ::= \"a\"" + stars, "root ::= (\"a\" root)" + stars, "root ::= <a>" + stars, "root ::= " + groups}) {
    try {
      grammar_of(text);
      ADD_FAILURE() << text.substr(0, 30);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kLimit) << error.what();
    }
  }
  EXPECT_TRUE(fits(*grammar_of("root ::= \"a\"" + stars.substr(0, 100)), "aaa"));
}

}  // namespace
}  // namespace quire
