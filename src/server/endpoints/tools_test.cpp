// Tools and reasoning at /v1/chat/completions. The demo model calls no tool by itself: a grammar makes it.
#include "server/endpoints/test_server.h"

namespace quire::test {
namespace {

constexpr Handler kHandle = handle_chat_completions;
// Tells tools, in the format that its comment names; the answer's prompt ends as the model's own.
constexpr const char* kTemplate =
    "{# <tool_call> #}{% if tools %}{{ tools[0].function.name }}{% endif %}{% for m in messages %}{{ m.content }}"
    "{% endfor %}";
constexpr const char* kThinkingTemplate =
    "{# <tool_call> #}{% if tools %}{% endif %}{% for m in messages %}{{ m.content }}{% endfor %}<think>\n";
constexpr const char* kChannelTemplate =
    "{# <|channel|>analysis<|message|> <|channel|>commentary #}{% if tools %}{% endif %}"
    "{% for m in messages %}{{ m.content }}{% endfor %}<|start|>assistant";

class ToolsTest : public ServerTest {
 protected:
  void use(const char* chat_template) {
    own_text_ = TextProcessor::load(checkpoint());
    own_text_->use_chat_template(chat_template);
    model_->text = own_text_.get();
    model_->grammars = make_grammars(*model_, context_.limits);
  }

  static json::object with_tools(json::object more) {
    more["tools"] = parse_json(R"([
        {"type": "function", "function": {"name": "move", "parameters": {"type": "object",
          "properties": {"to": {"enum": ["left", "right"]}}, "required": ["to"], "additionalProperties": false}}},
        {"type": "function", "function": {"name": "stop"}}])",
                               "tools");
    return chat("Go", std::move(more));
  }

  static void expect_call(const json::value& function) {
    const std::string name = text_of(function.at("name"));
    const json::value arguments = parse_json(text_of(function.at("arguments")), "arguments");
    if (name == "move") {
      const json::value& to = arguments.at("to");
      EXPECT_TRUE(to == "left" || to == "right") << json::serialize(arguments);
    } else {
      EXPECT_EQ(name, "stop");
      EXPECT_EQ(arguments, json::value(json::object()));
    }
  }

  std::unique_ptr<TextProcessor> own_text_;
};

TEST_F(ToolsTest, RequiredToolsAreCalled) {
  use(kTemplate);
  for (const double temperature : {0.0, 2.0}) {
    json::object body = with_tools({{"tool_choice", "required"}, {"parallel_tool_calls", false}});
    body["temperature"] = temperature;
    body["seed"] = 7;
    const json::object given = answer(kHandle, body);
    const json::object& first = choice(given);
    EXPECT_EQ(first.at("finish_reason"), "tool_calls");
    EXPECT_EQ(first.at("message").at("content"), nullptr);
    const json::array& calls = first.at("message").at("tool_calls").as_array();
    ASSERT_EQ(calls.size(), 1u);
    EXPECT_EQ(calls[0].at("type"), "function");
    EXPECT_TRUE(calls[0].at("id").as_string().starts_with("call_"));
    expect_call(calls[0].at("function"));
  }
}

TEST_F(ToolsTest, FunctionsAreCalledInTheirOlderForm) {
  use(kTemplate);
  json::object body = with_tools({{"function_call", {{"name", "move"}}}});
  body["functions"] = json::array{body.at("tools").at(0).at("function")};
  body.erase("tools");
  const json::object first = choice(answer(kHandle, body));
  EXPECT_EQ(first.at("finish_reason"), "function_call");
  EXPECT_FALSE(first.at("message").as_object().contains("tool_calls"));
  const json::value& call = first.at("message").at("function_call");
  expect_call(call);
  EXPECT_FALSE(call.as_object().contains("id"));
  std::string name, arguments;
  for (const json::object& event : stream(kHandle, body)) {
    const json::value* const piece = choice(event).at("delta").as_object().if_contains("function_call");
    if (piece == nullptr) continue;
    if (const json::value* const its_name = piece->as_object().if_contains("name")) name += text_of(*its_name);
    arguments += text_of(piece->at("arguments"));
  }
  EXPECT_EQ(name, text_of(call.at("name")));
  EXPECT_EQ(arguments, text_of(call.at("arguments")));
}

TEST_F(ToolsTest, AStreamTellsACallInPieces) {
  use(kTemplate);
  const json::object body = with_tools({{"tool_choice", "required"}, {"parallel_tool_calls", false}});
  const json::value whole = choice(answer(kHandle, body)).at("message").at("tool_calls").at(0).at("function");
  const std::vector<json::object> events = stream(kHandle, body);
  std::string name, arguments;
  for (const json::object& event : events) {
    const json::object& delta = choice(event).at("delta").as_object();
    EXPECT_EQ(delta.contains("role"), &event == &events.front());
    EXPECT_TRUE(!delta.contains("content") || delta.at("content").is_null());
    const json::value* calls = delta.if_contains("tool_calls");
    EXPECT_EQ(calls == nullptr, &event == &events.back());
    if (calls == nullptr) continue;
    const json::object& call = calls->at(0).as_object();
    EXPECT_EQ(call.at("index"), 0);
    EXPECT_EQ(call.contains("id"), &event == &events.front());
    if (const json::value* told = call.at("function").as_object().if_contains("name")) name += text_of(*told);
    arguments += text_of(call.at("function").at("arguments"));
  }
  EXPECT_EQ(choice(events.back()).at("finish_reason"), "tool_calls");
  EXPECT_EQ(name, text_of(whole.at("name")));
  EXPECT_EQ(arguments, text_of(whole.at("arguments")));
  EXPECT_GE(events.size(), 4u);
}

TEST_F(ToolsTest, ANamedToolIsCalledInAnyFormat) {
  for (const ToolFormat& format : tool_formats()) {
    if (&format == &generic_tool_format()) continue;  // hermes, but told in words that are longer than the context
    use(kTemplate);
    own_text_->use_tool_format(format.name);
    const json::object body =
        with_tools({{"tool_choice", {{"type", "function"}, {"function", {{"name", "move"}}}}}, {"max_tokens", 150}});
    const json::object given = answer(kHandle, body);
    const json::value* calls = choice(given).at("message").as_object().if_contains("tool_calls");
    ASSERT_NE(calls, nullptr) << format.name << ": " << json::serialize(given);
    ASSERT_EQ(calls->as_array().size(), 1u) << format.name;
    EXPECT_EQ(calls->at(0).at("function").at("name"), "move") << format.name;
    expect_call(calls->at(0).at("function"));
  }
}

TEST_F(ToolsTest, AreLeftToTheModelByAuto) {
  use(kTemplate);
  const json::object given = answer(kHandle, with_tools({{"max_tokens", 20}}));
  EXPECT_FALSE(choice(given).at("message").as_object().contains("tool_calls"));
  EXPECT_FALSE(choice(given).at("message").at("content").as_string().empty());
  // A strict tool brings a grammar, which free text fits.
  json::object strict = with_tools({{"max_tokens", 20}});
  strict["tools"].at(0).at("function").as_object()["strict"] = true;
  EXPECT_EQ(choice(answer(kHandle, strict)).at("message").at("content"), choice(given).at("message").at("content"));
}

TEST_F(ToolsTest, WhatCannotBeForcedIsRefused) {
  use(kTemplate);
  json::object body = with_tools({{"tool_choice", "required"}});
  body["tools"].at(0).at("function").at("parameters") =
      parse_json(R"({"type": "object", "properties": 5})", "a schema");
  EXPECT_EQ(error(kHandle, body).at("param"), "tools");
  EXPECT_EQ(error(kHandle, chat("Go", {{"tool_choice", "required"}})).at("param"), "tool_choice");
}

TEST_F(ToolsTest, ReasoningIsBoundedAndCallsComeBehindIt) {
  use(kThinkingTemplate);
  json::object body = with_tools({{"tool_choice", "required"},
                                  {"parallel_tool_calls", false},
                                  {"thinking_token_budget", 6},
                                  {"ignore_eos", true}});
  const json::object given = answer(kHandle, body);
  const json::object& message = choice(given).at("message").as_object();
  ASSERT_TRUE(message.contains("tool_calls")) << json::serialize(given);
  expect_call(message.at("tool_calls").at(0).at("function"));
  ASSERT_TRUE(message.contains("reasoning")) << json::serialize(given);
  EXPECT_EQ(message.at("reasoning"), message.at("reasoning_content"));
  const int64_t num_reasoning = given.at("usage").at("completion_tokens_details").at("reasoning_tokens").as_int64();
  EXPECT_GE(num_reasoning, 6);
  EXPECT_LT(num_reasoning, given.at("usage").at("completion_tokens").as_int64());
  // Left out, but counted.
  body["include_reasoning"] = false;
  const json::object without = answer(kHandle, body);
  EXPECT_FALSE(choice(without).at("message").as_object().contains("reasoning"));
  EXPECT_EQ(without.at("usage"), given.at("usage"));
}

TEST_F(ToolsTest, AFormIsThatOfTheLastMessageInChannels) {
  use(kChannelTemplate);
  const json::object form = {{"type", "json_schema"},
                             {"json_schema", {{"name", "number"}, {"schema", {{"const", 17}}}}}};
  // The model would rather think.
  const std::string final_channel = std::to_string(own_text_->tokenizer().find_token("f").value());
  const json::object body = chat("Go", {{"response_format", form}, {"logit_bias", {{final_channel, 100}}}});
  const json::value message = choice(answer(kHandle, body)).at("message");
  ASSERT_TRUE(message.at("content").is_string()) << json::serialize(message);
  EXPECT_EQ(parse_json(message.at("content").as_string(), "the answer"), 17) << json::serialize(message);
}

}  // namespace
}  // namespace quire::test
