#include "dialogue/tool_grammar.h"

#include <gtest/gtest.h>

#include "grammar/compile.h"

namespace quire {
namespace {

const std::vector<Tool>& tools() {
  static const std::vector<Tool> tools = {
      {.name = "move",
       .parameters = parse_json(R"({"type": "object", "properties": {"to": {"enum": ["left", "right"]}},
                                    "required": ["to"], "additionalProperties": false})",
                                "a schema")
                         .as_object(),
       .is_strict = true},
      {.name = "stop"}};
  return tools;
}

std::shared_ptr<const Grammar> grammar(const ToolFormat& format, const CallRules& rules) {
  return parse_grammar({.kind = GrammarKind::kStructuralTag, .text = call_structure(format, tools(), rules)});
}

std::string call(const CallWriting& writing, std::string_view name, std::string_view arguments) {
  std::string out{writing.before_name};
  out += name;
  out += writing.before_arguments;
  out += arguments;
  return out + std::string(writing.after_arguments);
}

TEST(ToolGrammar, EveryFormatForcesItsCalls) {
  for (const ToolFormat& format : tool_formats()) {
    const CallWriting& writing = format.writing;
    if (!writing.is_known()) continue;
    const auto whole = [&](const std::string& calls) {
      return std::string(writing.begin) + calls + std::string(writing.end);
    };
    const std::string good = call(writing, "move", R"({"to": "left"})");
    const auto required = grammar(format, {.is_required = true});
    EXPECT_TRUE(fits(*required, whole(good))) << format.name << ": " << whole(good);
    EXPECT_TRUE(fits(*required, whole(call(writing, "stop", "{}")))) << format.name;
    EXPECT_FALSE(fits(*required, whole(call(writing, "move", "{}")))) << format.name << ": an argument is missing";
    EXPECT_FALSE(fits(*required, whole(call(writing, "other", "{}")))) << format.name;
    EXPECT_FALSE(fits(*required, "Hello.")) << format.name;
    EXPECT_FALSE(fits(*required, "")) << format.name;
    const std::string two = whole(good + std::string(writing.between) + call(writing, "stop", "{}"));
    EXPECT_EQ(fits(*required, two), writing.may_repeat) << format.name;
    EXPECT_FALSE(fits(*grammar(format, {.is_required = true, .is_parallel = false}), two)) << format.name;

    if (!writing.before_content.empty()) continue;
    const auto free = grammar(format, {});
    EXPECT_TRUE(fits(*free, "Hello.")) << format.name;
    EXPECT_TRUE(fits(*free, "So: " + whole(good))) << format.name;
    EXPECT_FALSE(fits(*free, "So: " + whole(call(writing, "move", "{}")))) << format.name << ": move is strict";
    EXPECT_TRUE(fits(*free, whole(call(writing, "stop", R"({"any": 1})")))) << format.name << ": stop is not";
  }
}

TEST(ToolGrammar, AnAnswerInChannelsIsContentOrCalls) {
  const ToolFormat& harmony = *find_tool_format("harmony");
  const std::string call =
      R"(<|channel|>commentary to=functions.move <|constrain|>json<|message|>{"to": "left"}<|call|>)";
  const auto free = grammar(harmony, {});
  EXPECT_TRUE(fits(*free, "<|channel|>final<|message|>Hello."));
  EXPECT_TRUE(fits(*free, call));
  EXPECT_FALSE(fits(*free, "Hello."));
  const auto either = grammar(harmony, {.content_schema = parse_json(R"({"type": "integer"})", "a schema")});
  EXPECT_TRUE(fits(*either, "<|channel|>final<|message|>17"));
  EXPECT_FALSE(fits(*either, "<|channel|>final<|message|>Hello."));
  EXPECT_TRUE(fits(*either, call));
}

TEST(ToolGrammar, AnAnswerInAFormMayBeCallsInstead) {
  const ToolFormat& hermes = *find_tool_format("hermes");
  const auto either = grammar(hermes, {.content_schema = parse_json(R"({"type": "integer"})", "a schema")});
  EXPECT_TRUE(fits(*either, "17"));
  EXPECT_TRUE(fits(*either, "<tool_call>\n{\"name\": \"stop\", \"arguments\": {}}\n</tool_call>"));
  EXPECT_FALSE(fits(*either, "Hello."));
}

TEST(ToolGrammar, BeginsBehindReasoning) {
  GrammarSpec spec = {.kind = GrammarKind::kRegex, .text = "a+", .starts_after = "</think>"};
  EXPECT_TRUE(fits(*parse_grammar(spec), "hm</think>aa"));
  EXPECT_FALSE(fits(*parse_grammar(spec), "aa"));
  spec.starts_after_begin = "<think>";
  EXPECT_TRUE(fits(*parse_grammar(spec), "<think>hm</think>aa"));
  EXPECT_TRUE(fits(*parse_grammar(spec), "aa"));
  EXPECT_FALSE(fits(*parse_grammar(spec), "hm</think>aa"));
  spec = {.kind = GrammarKind::kRegex,
          .text = "a+",
          .starts_after = "<|end|>",
          .starts_after_begin = "<|channel|>analysis<|message|>",
          .next = "<|start|>assistant",
          .opening = "<|channel|>final<|message|>"};
  const std::string answer = "<|channel|>final<|message|>aa";
  EXPECT_TRUE(fits(*parse_grammar(spec), "<|channel|>analysis<|message|>hm<|end|><|start|>assistant" + answer));
  EXPECT_TRUE(fits(*parse_grammar(spec), answer));
  EXPECT_FALSE(fits(*parse_grammar(spec), "<|channel|>analysis<|message|>hm<|end|>" + answer));
  EXPECT_FALSE(fits(*parse_grammar(spec), "aa"));
}

}  // namespace
}  // namespace quire
