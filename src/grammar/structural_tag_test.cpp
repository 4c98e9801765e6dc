#include <gtest/gtest.h>

#include <string>

#include "base/error.h"
#include "grammar/compile.h"

namespace quire {
namespace {

struct Case {
  std::string text;
  std::vector<std::string> fitting, others;
};

TEST(StructuralTag, MeansWhatItsFormatsSay) {
  const std::vector<Case> cases = {
      {R"({"structures": [{"begin": "<f=a>", "schema": {"type": "boolean"}, "end": "</f>"},
                          {"begin": "<f=b>", "schema": {"const": 1}, "end": "</f>"}], "triggers": ["<f="]})",
       {"", "free", "x<f=a>true</f>y<f=b>1</f>"},
       {"<f=", "<f=c>", "<f=a>1</f>"}},
      {R"({"type": "structural_tag", "format": {"type": "sequence", "elements": [
            {"type": "tag", "begin": "<think>", "content": {"type": "any_text"}, "end": "</think>"},
            {"type": "or", "elements": [{"type": "const_string", "value": "yes"}, {"type": "regex", "pattern": "\\d+"}]}]}})",
       {"<think>a < b</think>yes", "<think></think>42"},
       {"yes", "<think>yes", "<think></think>no"}},
      {R"({"type": "structural_tag", "format": {"type": "triggered_tags", "triggers": ["<c"], "at_least_one": true,
           "stop_after_first": true, "tags": [{"type": "tag", "begin": "<c>", "content":
           {"type": "json_schema", "json_schema": {"type": "null"}}, "end": "</c>"}]}})",
       {"<c>null</c>", "call <c>null</c>"},
       {"", "<c>null</c> more", "<c>1</c>"}},
      {R"({"type": "structural_tag", "format": {"type": "tags_with_separator", "separator": ",", "at_least_one": true,
           "tags": [{"begin": "<<", "content": {"type": "grammar", "grammar": "root ::= \"a\" root | \"b\""}, "end": ">>"}]}})",
       {"<<b>>", "<<aab>>,<<b>>"},
       {"", "(b),", "(a)"}},
  };
  for (const Case& one : cases) {
    const auto grammar = parse_grammar({.kind = GrammarKind::kStructuralTag, .text = one.text});
    for (const std::string& text : one.fitting) EXPECT_TRUE(fits(*grammar, text)) << one.text << " : " << text;
    for (const std::string& text : one.others) EXPECT_FALSE(fits(*grammar, text)) << one.text << " : " << text;
  }
}

TEST(StructuralTag, RefusesByPointer) {
  const std::pair<std::string, std::string> cases[] = {
      {R"({"type": "structural_tag", "format": {"type": "qwen_xml_parameter"}})", "/format/type"},
      {R"({"type": "structural_tag", "format": {"type": "any_text", "more": 1}})", "/format/more"},
      {R"({"type": "structural_tag"})", "/format"},
      {R"({"structures": [{"begin": "<a>", "schema": {}, "end": 1}], "triggers": ["<a>"]})", "/structures/0/end"},
      {R"({"structures": [{"begin": "<a>", "schema": {}, "end": ""}], "triggers": ["<b>"]})", "/triggers"},
  };
  for (const auto& [text, place] : cases) {
    try {
      parse_grammar({.kind = GrammarKind::kStructuralTag, .text = text});
      ADD_FAILURE() << text;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(place), std::string::npos) << error.what();
    }
  }
}

TEST(StructuralTag, GrammarsMayStartAfterAText) {
  const auto grammar =
      parse_grammar({.kind = GrammarKind::kChoice, .text = R"(["a", "b"])", .starts_after = "</think>"});
  EXPECT_TRUE(fits(*grammar, "hm, b? </think>a"));
  EXPECT_FALSE(fits(*grammar, "a"));
}

}  // namespace
}  // namespace quire
