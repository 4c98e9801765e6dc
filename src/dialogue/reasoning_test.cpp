#include "dialogue/reasoning.h"

#include <gtest/gtest.h>

#include "dialogue/tool_formats/tool_format.h"

namespace quire {
namespace {

std::string read_with(OutputParser& parser, const std::vector<std::string>& pieces) {
  std::vector<AnswerPart> parts;
  for (const std::string& piece : pieces) parser.push(piece, parts);
  parser.finish(parts);
  std::string reasoning, content, calls;
  for (const AnswerPart& part : parts) {
    EXPECT_FALSE(part.text.empty());
    (part.kind == AnswerPartKind::kReasoning ? reasoning
     : part.kind == AnswerPartKind::kContent ? content
                                             : calls) += part.text;
  }
  return reasoning + "|" + content + "|" + calls;
}

std::string read(const std::vector<std::string>& pieces, bool is_open, std::string_view name = "qwen3") {
  const auto parser =
      make_reasoning_parser(*find_reasoning_format(name), is_open, find_tool_format("hermes")->make_parser({}));
  return read_with(*parser, pieces);
}

TEST(Reasoning, IsToldFromTheAnswerHoweverTheTextIsCut) {
  struct Case {
    const char* text;
    bool is_open;
    const char* said;
  };
  const Case cases[] = {
      {"<think>\nWell,  so\n\n</think>\n\nHello \n", false, "Well,  so|Hello \n|"},
      {"\nWell < 5 </thin so</think>Hello", true, "Well < 5 </thin so|Hello|"},
      {"<think>\n\n</think>\n\nHello", false, "|Hello|"},
      {"Hello <think> you", false, "|Hello <think> you|"},
      {" <thin air", false, "| <thin air|"},
      {"never an end\n", true, "never an end||"},
      {"<think>a<tool_call>b</think><tool_call>{\"name\": \"f\", \"arguments\": {}}</tool_call>", false,
       "a<tool_call>b||f{}"},
  };
  for (const Case& given : cases) {
    const std::string text = given.text;
    std::vector<std::string> bytes;
    for (const char c : text) bytes.emplace_back(1, c);
    EXPECT_EQ(read(bytes, given.is_open), given.said) << text;
    for (size_t at = 0; at <= text.size(); ++at) {
      EXPECT_EQ(read({text.substr(0, at), text.substr(at)}, given.is_open), given.said) << text << ", cut at " << at;
    }
  }
  EXPECT_EQ(read({"[THINK]a[/THINK]b"}, false, "mistral"), "a|b|");
  EXPECT_EQ(read({"<|channel>thought\na\n<channel|>b"}, false, "gemma4"), "a|b|");
}

// An answer of gpt-oss: reasoning, a word to the user, more reasoning, a call or the answer.
TEST(Reasoning, IsAChannelOfTheAnswer) {
  const std::string begun =
      "<|channel|>analysis<|message|>Sum < it.<|end|><|start|>assistant<|channel|>commentary<|message|>I add.<|end|>"
      "<|start|>assistant<|channel|>analysis<|message|>Add.<|end|><|start|>assistant";
  const std::string cases[] = {begun + "<|channel|>final<|message|>It is 3.<|return|>",
                               begun + "<|channel|>commentary to=functions.add json<|message|>{\"a\": 1}<|call|>",
                               "Plain.", "<|channel|>analysis<|message|>Cut of"};
  const char* const said[] = {"Sum < it.\n\nAdd.|I add.\n\nIt is 3.|", "Sum < it.\n\nAdd.|I add.|add{\"a\": 1}",
                              "|Plain.|", "Cut of||"};
  for (size_t i = 0; i < std::size(cases); ++i) {
    for (size_t at = 0; at <= cases[i].size(); ++at) {
      const auto parser =
          make_reasoning_parser(*find_reasoning_format("harmony"), false, find_tool_format("harmony")->make_parser({}));
      EXPECT_EQ(read_with(*parser, {cases[i].substr(0, at), cases[i].substr(at)}), said[i]) << cases[i] << at;
    }
  }
  const auto parser = make_reasoning_parser(*find_reasoning_format("harmony"), false, make_plain_parser());
  std::vector<AnswerPart> parts;
  parser->push("<|channel|>analysis<|message|>a", parts);
  EXPECT_TRUE(parser->is_reasoning());
  parser->push("<|end|>", parts);
  EXPECT_FALSE(parser->is_reasoning());
}

TEST(Reasoning, AMegabyteInSmallPiecesIsFast) {
  for (const char* piece : {" ", "<", "</think", "word "}) {
    const auto parser = make_reasoning_parser(*find_reasoning_format("deepseek_r1"), true, make_plain_parser());
    std::vector<AnswerPart> parts;
    for (int i = 0; i < 200'000; ++i) {
      parser->push(piece, parts);
      parts.clear();
    }
    EXPECT_TRUE(parser->is_reasoning());
  }
}

TEST(Reasoning, IsFoundByTheTemplateAndThePrompt) {
  EXPECT_EQ(detect_reasoning_format("... [THINK] ...")->name, "mistral");
  EXPECT_EQ(detect_reasoning_format("{{ content.split('</think>')[-1] }}")->name, "think");
  EXPECT_EQ(detect_reasoning_format("{{ messages }}"), nullptr);
  const ReasoningFormat& think = *find_reasoning_format("qwen3");
  EXPECT_TRUE(opens_reasoning(think, "<|Assistant|><think>\n"));
  EXPECT_FALSE(opens_reasoning(think, "<|im_start|>assistant\n<think>\n\n</think>\n\n"));
}

}  // namespace
}  // namespace quire
