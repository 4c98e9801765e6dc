// Every field of the table against hostile values, and the documentation against the table.
#include "server/schema/fields.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>

#include "server/api_error.h"

namespace quire {
namespace {

class FieldsTest : public testing::Test {
 protected:
  ApiRequest parse(std::string_view body, Endpoint endpoint = kChat) const {
    return parse_request(body, endpoint, {.limits = limits_, .default_sampling = sampling_, .vocab_size = 512});
  }
  // The refusal's path, or "accepted".
  std::string refused(std::string_view body, Endpoint endpoint = kChat) const {
    try {
      parse(body, endpoint);
    } catch (const ApiError& error) {
      // A well-formed chat template is refused unless the operator allows it.
      EXPECT_TRUE(error.status() == 400 || (error.status() == 403 && error.param() == "chat_template"));
      EXPECT_EQ(error.type(), error.status() == 400 ? "invalid_request_error" : "permission_error");
      EXPECT_EQ(std::string(error.what()).find("0x"), std::string::npos);
      return error.param();
    }
    return "accepted";
  }

  Limits limits_;
  SamplingParams sampling_;
};

constexpr Endpoint kEndpoints[] = {kChat, kCompletions, kEmbeddings, kTokenize, kDetokenize};

// A value is either accepted, within its range, or refused by an error that names the field.
TEST_F(FieldsTest, HostileValues) {
  const char* const kValues[] = {"-1",
                                 "0",
                                 "1",
                                 "-0.0",
                                 "1e400",
                                 "-1e400",
                                 "1e-400",
                                 "9223372036854775807",
                                 "9223372036854775808",
                                 "18446744073709551616",
                                 "-9223372036854775808",
                                 "2147483648",
                                 "-2147483649",
                                 "4294967297",
                                 "0.5",
                                 "7.0",
                                 "1e300",
                                 "\"NaN\"",
                                 "\"\"",
                                 "\"1\"",
                                 "[]",
                                 "[-1]",
                                 "[1e9]",
                                 "[null]",
                                 "[[]]",
                                 "[[[1]]]",
                                 "{}",
                                 "{\"a\":{}}",
                                 "true",
                                 "false"};
  for (const Field& field : request_fields()) {
    for (const Endpoint endpoint : kEndpoints) {
      if ((field.endpoints & endpoint) == 0) continue;
      for (const char* value : kValues) {
        const std::string body = "{\"" + std::string(field.name) + "\": " + value + "}";
        const std::string path = refused(body, endpoint);
        const bool is_number = std::string("-0123456789").find(value[0]) != std::string::npos;
        if (path == "accepted" || path.empty()) {
          EXPECT_TRUE(!path.empty() || is_number) << body;  // not a JSON number
          const bool is_numeric = field.type == FieldType::kInteger || field.type == FieldType::kNumber;
          EXPECT_TRUE(path.empty() || !is_numeric || is_number) << body;
          continue;
        }
        EXPECT_TRUE(path.starts_with(field.name) || path == "tools" || path == "best_of" || path == "top_logprobs" ||
                    path == "continue_final_message" || path == "stream_options")
            << body << " was refused as " << path;
      }
    }
  }
}

TEST_F(FieldsTest, NullIsAbsentForEveryField) {
  for (const Field& field : request_fields()) {
    for (const Endpoint endpoint : kEndpoints) {
      if ((field.endpoints & endpoint) == 0) continue;
      EXPECT_EQ(refused("{\"" + std::string(field.name) + "\": null}", endpoint), "accepted") << field.name;
    }
  }
}

// Each numeric field just inside and just outside its range.
TEST_F(FieldsTest, RangesHoldAtTheirEnds) {
  for (const Field& field : request_fields()) {
    if (field.type != FieldType::kInteger && field.type != FieldType::kNumber) continue;
    if (field.name == "seed" || field.name == "best_of" || field.name == "top_logprobs" ||
        field.name == "truncate_prompt_tokens") {
      continue;  // further rules apply
    }
    const Endpoint endpoint = (field.endpoints & kChat) != 0          ? kChat
                              : (field.endpoints & kCompletions) != 0 ? kCompletions
                                                                      : kEmbeddings;
    const double max = field.limit != nullptr ? static_cast<double>(limits_.*field.limit) : field.max;
    const auto body = [&](double value) { return fmt::format("{{\"{}\": {:.17g}}}", field.name, value); };
    EXPECT_EQ(refused(body(max), endpoint), "accepted") << field.name;
    EXPECT_EQ(refused(body(max * 1.001 + 1), endpoint), field.name) << field.name;
    EXPECT_EQ(refused(body(field.min), endpoint), field.is_above_min ? std::string(field.name) : "accepted");
    EXPECT_EQ(refused(body(field.min - 1), endpoint), field.name);
  }
}

TEST_F(FieldsTest, RefusalsNameThePathAndTheRange) {
  EXPECT_EQ(
      refused(
          R"({"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": [{"type": "image_url"}]}]})"),
      "messages[1].content[0].type");
  EXPECT_EQ(refused(R"({"messages": [{"role": "user", "content": [{"type": "text", "text": 3}]}]})"),
            "messages[0].content[0].text");
  EXPECT_EQ(refused(R"({"messages": [{"role": "robot", "content": "a"}]})"), "messages[0].role");
  EXPECT_EQ(refused(R"({"messages": ["a"]})"), "messages[0]");
  EXPECT_EQ(refused(R"({"messages": []})"), "messages");
  EXPECT_EQ(refused(R"({"messages": [{"role": "user", "content": 1}]})"), "messages[0].content");
  EXPECT_EQ(refused(R"({"stop": ["a", 5]})"), "stop[1]");
  EXPECT_EQ(refused(R"({"logit_bias": {"1": 5, "x": 1}})"), "logit_bias.x");
  EXPECT_EQ(refused(R"({"logit_bias": {"512": 5}})"), "logit_bias.512");
  EXPECT_EQ(refused(R"({"stream": true, "stream_options": {"include_usage": 1}})"), "stream_options.include_usage");
  EXPECT_EQ(refused(R"({"prompt": [[1, 2], [3, 512]]})", kCompletions), "prompt[1][1]");
  EXPECT_EQ(refused(R"({"prompt": [1, "a"]})", kCompletions), "prompt[1]");
  EXPECT_EQ(refused(R"({"prompt": ["a", 1]})", kCompletions), "prompt[1]");
  EXPECT_EQ(refused(R"({"response_format": {"type": "json_object"}})"), "response_format.type");
  EXPECT_EQ(refused(R"({"tools": [{}]})"), "tools");
  EXPECT_EQ(refused(R"({"tools": [{}], "tool_choice": "none"})"), "accepted");
  EXPECT_EQ(refused(R"({"tool_choice": "required"})"), "tool_choice");
  EXPECT_EQ(refused(R"({"n": 2, "best_of": 3})"), "best_of");
  EXPECT_EQ(refused(R"({"top_logprobs": 3})"), "top_logprobs");
  EXPECT_EQ(refused(R"({"stream_options": {}})"), "stream_options");
  EXPECT_EQ(refused(R"({"top_p": 1e-60})"), "top_p");
  EXPECT_EQ(refused("[]"), "");
  EXPECT_EQ(refused("{"), "");
  EXPECT_EQ(refused("{\"a\": NaN}"), "");
  EXPECT_EQ(refused("{\"user\": \"\xff\"}"), "");
  try {
    parse(R"({"n": 129})");
    FAIL();
  } catch (const ApiError& error) {
    EXPECT_STREQ(error.what(), "'n' should be an integer from 1 to 128, found 129");
  }
  try {
    parse(R"({"mirostat": 2})");
    FAIL();
  } catch (const ApiError& error) {
    EXPECT_EQ(error.code(), "not_supported");
  }
}

TEST_F(FieldsTest, DepthIsLimitedAndTheLastOfDuplicatesWins) {
  std::string deep = "{\"metadata\": ";
  for (int i = 0; i < 1000; ++i) deep += "[";
  EXPECT_EQ(refused(deep), "");
  EXPECT_EQ(parse(R"({"n": 2, "n": 3})").num_choices, 3);
  EXPECT_EQ(refused(R"({"unheard_of": {"x": [1, 2]}})"), "accepted");
}

TEST_F(FieldsTest, TheNewerNameWins) {
  EXPECT_EQ(parse(R"({"max_completion_tokens": 5, "max_tokens": 9, "n_predict": 11})").max_tokens, 5);
  EXPECT_EQ(parse(R"({"max_tokens": 9, "n_predict": 11})").max_tokens, 9);
  EXPECT_EQ(parse(R"({"n_predict": -1})").max_tokens, -1);
  EXPECT_EQ(parse(R"({"repetition_penalty": 1.5, "repeat_penalty": 2})").sampling.repetition_penalty, 1.5f);
  EXPECT_EQ(parse(R"({"n_probs": 4})").top_logprobs, 4);
  EXPECT_EQ(parse(R"({"logprobs": null})", kCompletions).logprobs, false);
  EXPECT_EQ(parse(R"({"logprobs": 0})", kCompletions).logprobs, true);
}

TEST_F(FieldsTest, MessagesAsTemplatesExpectThem) {
  const ApiRequest request = parse(R"({"messages": [
      {"role": "developer", "content": "d"},
      {"role": "user", "name": "ann", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
      {"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f", "arguments": "{\"x\": 1}"}}]}]})");
  EXPECT_EQ(json::serialize(request.messages),
            R"([{"role":"system","content":"d"},{"role":"user","name":"ann","content":"a\nb"},)"
            R"({"role":"assistant","content":"","tool_calls":[{"function":{"name":"f","arguments":{"x":1}}}]}])");
}

TEST_F(FieldsTest, TheDocumentationHasTheTable) {
  std::ifstream file(QUIRE_SOURCE_DIR "/docs/serving-api.md");
  const std::string document{std::istreambuf_iterator<char>(file), {}};
  const std::string table = fields_as_markdown(limits_);
  EXPECT_NE(document.find(table), std::string::npos) << "put this table into docs/serving-api.md:\n" << table;
}

}  // namespace
}  // namespace quire
