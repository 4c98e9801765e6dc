// Every field of the table against hostile values, and the documentation against the table.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>

#include "server/api_error.h"
#include "server/apis/apis.h"

namespace quire {
namespace {

class FieldsTest : public testing::Test {
 protected:
  ApiRequest parse(std::string_view body, const Api& api = kChatApi) const {
    return parse_request(body, api, {.limits = limits_, .default_sampling = sampling_, .vocab_size = 512});
  }
  // The refusal's path, or "accepted".
  std::string refused(std::string_view body, const Api& api = kChatApi) const {
    try {
      parse(body, api);
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
  for (const Api* const api : apis()) {
    for (const Field& field : api->fields) {
      for (const char* value : kValues) {
        const std::string body = "{\"" + std::string(field.name) + "\": " + value + "}";
        const std::string path = refused(body, *api);
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

TEST_F(FieldsTest, ToolsAreBoundedByTheirBytes) {
  const std::string body = R"({"tool_choice": "none", "tools": [{"function": {"name": "f", "description": "@"}}]})";
  const auto padded = [&](size_t count) { return std::string(body).replace(body.find('@'), 1, count, 'd'); };
  limits_.tools_bytes = 1000;
  EXPECT_EQ(refused(padded(900)), "accepted");
  EXPECT_EQ(refused(padded(1000)), "tools");
}

TEST_F(FieldsTest, NullIsAbsentForEveryField) {
  for (const Api* const api : apis()) {
    for (const Field& field : api->fields) {
      EXPECT_EQ(refused("{\"" + std::string(field.name) + "\": null}", *api), "accepted") << field.name;
    }
  }
}

std::vector<std::pair<const Api*, Field>> all_fields() {
  std::vector<std::pair<const Api*, Field>> all;
  for (const Api* const api : apis()) {
    for (const Field& field : api->fields) all.emplace_back(api, field);
  }
  return all;
}

// Each numeric field just inside and just outside its range.
TEST_F(FieldsTest, RangesHoldAtTheirEnds) {
  for (const auto& [api, field] : all_fields()) {
    if (field.type != FieldType::kInteger && field.type != FieldType::kNumber) continue;
    if (field.name == "best_of" || field.name == "top_logprobs" || field.name == "truncate_prompt_tokens") {
      continue;  // further rules apply
    }
    const double max = field.limit != nullptr ? static_cast<double>(limits_.*field.limit) : field.max;
    const auto body = [&](double value) { return fmt::format("{{\"{}\": {:.0f}}}", field.name, value); };
    // The nearest double of the greatest 64-bit number is one more than it.
    const std::string most = max > 1e19 ? "{\"seed\": 18446744073709551615}" : body(max);
    EXPECT_EQ(refused(most, *api), "accepted") << field.name;
    EXPECT_EQ(refused(body(max * 1.001 + 1), *api), field.name) << field.name;
    EXPECT_EQ(refused(body(field.min), *api), field.is_above_min ? std::string(field.name) : "accepted");
    EXPECT_EQ(refused(body(field.min * 1.001 - 1), *api), field.name);
  }
}

// The members of an object are fields like others: hostile values, null, and their path in refusals.
TEST_F(FieldsTest, NestedFieldsAreFields) {
  for (const auto& [api, field] : all_fields()) {
    EXPECT_EQ(field.type == FieldType::kObject, !field.members().empty()) << field.name;
    for (const Field& member : field.members()) {
      const std::string path = fmt::format("{}.{}", field.name, member.name);
      const std::string given = refused(fmt::format("{{\"{}\": {{\"{}\": [[1]]}}}}", field.name, member.name), *api);
      EXPECT_TRUE(given == path || given == path + "[0]") << path << " was refused as " << given;
      EXPECT_NE(fields_as_markdown(limits_).find(fmt::format("`{}`: ", member.name)), std::string::npos) << path;
    }
    if (field.type == FieldType::kObject) {
      EXPECT_EQ(refused(fmt::format("{{\"{}\": 5}}", field.name), *api), field.name);
    }
  }
  EXPECT_TRUE(parse(R"({"stream": true, "stream_options": {"include_usage": true}})").include_usage);
  EXPECT_FALSE(parse(R"({"stream": true, "stream_options": {"include_usage": null}})").include_usage);
  EXPECT_EQ(refused(R"({"response_format": {"type": "text"}})"), "accepted");
  EXPECT_EQ(refused(R"({"response_format": {}})"), "response_format.type");
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
  EXPECT_EQ(refused(R"({"prompt": [[1, 2], [3, 512]]})", kCompletionsApi), "prompt[1][1]");
  EXPECT_EQ(refused(R"({"prompt": [1, "a"]})", kCompletionsApi), "prompt[1]");
  EXPECT_EQ(refused(R"({"prompt": ["a", 1]})", kCompletionsApi), "prompt[1]");
  EXPECT_EQ(refused(R"({"response_format": {"type": "xml"}})"), "response_format.type");
  EXPECT_EQ(refused(R"({"response_format": {"type": "json_schema", "json_schema": 3}})"),
            "response_format.json_schema");
  EXPECT_EQ(refused(R"({"response_format": {"type": "json_object", "schema": 3}})"), "response_format.schema");
  EXPECT_EQ(refused(R"({"guided_choice": []})"), "guided_choice");
  EXPECT_EQ(refused(R"({"structured_outputs": {"choice": ["a", 1]}})"), "structured_outputs.choice");
  EXPECT_EQ(refused(R"({"grammar": "root ::= \"a\"", "json_schema": {}})"), "json_schema");
  EXPECT_EQ(refused(R"({"tools": [{}]})"), "tools[0].function");
  EXPECT_EQ(refused(R"({"tools": [{"function": {"name": "a b"}}]})"), "tools[0].function.name");
  EXPECT_EQ(refused(R"({"tools": [{"type": "custom", "function": {"name": "f"}}]})"), "tools[0].type");
  EXPECT_EQ(refused(R"({"tools": [{"function": {"name": "f"}}, {"function": {"name": "f"}}]})"), "tools[1]");
  EXPECT_EQ(refused(R"({"tools": [{"function": {"name": "f", "parameters": []}}]})"), "tools[0].function.parameters");
  EXPECT_EQ(refused(R"({"tools": [{"function": {"name": "f"}}], "tool_choice": "none"})"), "accepted");
  EXPECT_EQ(refused(R"({"tools": [{"function": {"name": "f"}}], "tool_choice": {"type": "function", "name": "g"}})"),
            "tool_choice");
  EXPECT_EQ(refused(R"({"tool_choice": "required"})"), "tool_choice");
  EXPECT_EQ(refused(R"({"n": 4, "best_of": 3})"), "best_of");
  EXPECT_EQ(refused(R"({"n": 2, "best_of": 3, "stream": true})"), "best_of");
  EXPECT_EQ(refused(R"({"top_logprobs": 3})"), "top_logprobs");
  EXPECT_EQ(refused(R"({"stream_options": {}})"), "stream_options");
  EXPECT_EQ(refused(R"({"repetition_penalty": 1e-60})"), "repetition_penalty");
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
    parse(R"({"logits_processors": ["x"]})");
    FAIL();
  } catch (const ApiError& error) {
    EXPECT_EQ(error.code(), "not_supported");
  }
}

TEST_F(FieldsTest, SamplingStepsOfThePeers) {
  const ApiRequest request = parse(R"({"bad_words": ["a", "b c"], "allowed_token_ids": [3, 1, 3], "logprobs": true,
      "logprob_token_ids": [7], "dry_multiplier": 0.5, "dry_base": 2, "dry_allowed_length": 3, "dry_penalty_last_n": 9,
      "dry_sequence_breakers": [], "top_n_sigma": 1.5, "dynatemp_range": 0.5, "dynatemp_exponent": 2,
      "xtc_probability": 0.25, "xtc_threshold": 0.2, "mirostat": 2, "mirostat_tau": 4, "mirostat_eta": 0.5})");
  EXPECT_EQ(request.bad_words, std::vector<std::string>({"a", "b c"}));
  EXPECT_EQ(*request.sampling.allowed_token_ids, std::vector<int32_t>({1, 3}));
  EXPECT_EQ(request.sampling.logprob_token_ids, std::vector<int32_t>({7}));
  EXPECT_EQ(request.sampling.dry.multiplier, 0.5f);
  EXPECT_EQ(request.sampling.dry.base, 2.0f);
  EXPECT_EQ(request.sampling.dry.allowed_length, 3);
  EXPECT_EQ(request.sampling.dry.penalty_last_n, 9);
  EXPECT_TRUE(request.dry_breakers.has_value());
  EXPECT_EQ(request.sampling.top_n_sigma, 1.5f);
  EXPECT_EQ(request.sampling.dynatemp.range, 0.5f);
  EXPECT_EQ(request.sampling.dynatemp.exponent, 2.0f);
  EXPECT_EQ(request.sampling.xtc.probability, 0.25f);
  EXPECT_EQ(request.sampling.xtc.threshold, 0.2f);
  EXPECT_EQ(request.sampling.mirostat.version, 2);
  EXPECT_EQ(request.sampling.mirostat.tau, 4.0f);
  EXPECT_EQ(request.sampling.mirostat.eta, 0.5f);
  EXPECT_EQ(refused(R"({"bad_words": ["a", ""]})"), "bad_words[1]");
  EXPECT_EQ(refused(R"({"bad_words": "a"})"), "bad_words");
  EXPECT_EQ(refused(R"({"allowed_token_ids": []})"), "allowed_token_ids");
  EXPECT_EQ(refused(R"({"allowed_token_ids": [512]})"), "allowed_token_ids[0]");
  EXPECT_EQ(refused(R"({"logprob_token_ids": [1]})"), "logprob_token_ids");
  EXPECT_EQ(refused(R"({"dry_sequence_breakers": [")" + std::string(41, 'x') + "\"]}"), "dry_sequence_breakers[0]");
}

TEST_F(FieldsTest, BeamSearchRefusesWhatItDoesNotHeed) {
  const auto beams = [&](const std::string& more) { return refused("{\"use_beam_search\": true, " + more + "}"); };
  EXPECT_EQ(beams(R"("n": 2, "beam_width": 4, "length_penalty": 0.5, "early_stopping": true)"), "accepted");
  EXPECT_EQ(beams(R"("n": 4, "beam_width": 2)"), "beam_width");
  EXPECT_EQ(beams(R"("stream": true)"), "stream");
  EXPECT_EQ(beams(R"("best_of": 3)"), "best_of");
  EXPECT_EQ(beams(R"("prompt_logprobs": 1)"), "prompt_logprobs");
  EXPECT_EQ(beams(R"("logit_bias": {"1": 1})"), "logit_bias");
  EXPECT_EQ(beams(R"("allowed_token_ids": [1])"), "allowed_token_ids");
  EXPECT_EQ(beams(R"("bad_words": ["a"])"), "bad_words");
  EXPECT_EQ(beams(R"("min_tokens": 1)"), "min_tokens");
  EXPECT_EQ(beams(R"("prediction": {"content": "a"})"), "prediction");
}

// Every client's way to say what form an answer has.
TEST_F(FieldsTest, FormsOfAnAnswer) {
  using enum GrammarKind;
  const std::string schema = R"({"type":"object","properties":{"b":{},"a":{}}})";
  struct Case {
    std::string body;
    GrammarKind kind;
    std::string text;
    std::string path;
  };
  const Case cases[] = {
      {R"("response_format":{"type":"json_object"})", kJsonObject, "", "response_format"},
      {R"("response_format":{"type":"json_schema","json_schema":{"name":"n","strict":true,"schema":)" + schema + "}}",
       kJsonSchema, schema, "response_format.json_schema.schema"},
      {R"("response_format":{"type":"json_object","schema":)" + schema + "}", kJsonSchema, schema,
       "response_format.schema"},
      {R"("response_format":{"type":"json_schema","schema":)" + schema + "}", kJsonSchema, schema,
       "response_format.schema"},
      {R"("response_format":{"type":"json_schema","json_schema":{"name":"n"}})", kJsonObject, "", "response_format"},
      {R"("response_format":{"type":"structural_tag","format":{}})", kStructuralTag,
       R"({"type":"structural_tag","format":{}})", "response_format"},
      {R"("structured_outputs":{"json":)" + schema + "}", kJsonSchema, schema, "structured_outputs.json"},
      {R"("structured_outputs":{"json":"{}"})", kJsonSchema, "{}", "structured_outputs.json"},
      {R"("structured_outputs":{"regex":"a+"})", kRegex, "a+", "structured_outputs.regex"},
      {R"("structured_outputs":{"choice":["a","b"]})", kChoice, R"(["a","b"])", "structured_outputs.choice"},
      {R"("structured_outputs":{"grammar":"root ::= [a]"})", kGbnf, "root ::= [a]", "structured_outputs.grammar"},
      {R"("structured_outputs":{"structural_tag":"{}"})", kStructuralTag, "{}", "structured_outputs.structural_tag"},
      {R"("structured_outputs":{"json_object":true})", kJsonObject, "", "structured_outputs.json_object"},
      {R"("guided_json":)" + schema, kJsonSchema, schema, "guided_json"},
      {R"("guided_regex":"a+")", kRegex, "a+", "guided_regex"},
      {R"("guided_choice":["a","b"])", kChoice, R"(["a","b"])", "guided_choice"},
      {R"("guided_grammar":"root ::= [a]","guided_decoding_backend":"xgrammar")", kGbnf, "root ::= [a]",
       "guided_grammar"},
      {R"("grammar":"root ::= [a]")", kGbnf, "root ::= [a]", "grammar"},
      {R"("json_schema":)" + schema, kJsonSchema, schema, "json_schema"},
  };
  for (const Case& given : cases) {
    for (const Api* const api : {&kChatApi, &kCompletionsApi}) {
      const ApiRequest request = parse("{" + given.body + "}", *api);
      ASSERT_TRUE(request.grammar) << given.body;
      EXPECT_EQ(request.grammar->kind, given.kind) << given.body;
      EXPECT_EQ(request.grammar->text, given.text) << given.body;
      EXPECT_EQ(request.grammar_path, given.path) << given.body;
      EXPECT_TRUE(request.grammar->any_whitespace);
    }
  }
  // One at most.
  for (const Case& first : cases) {
    for (const Case& second : cases) {
      const std::string_view a = std::string_view(first.body).substr(0, first.body.find(':'));
      if (second.body.starts_with(a)) continue;
      EXPECT_THROW(parse("{" + first.body + "," + second.body + "}"), ApiError) << first.body << second.body;
    }
  }
  for (const char* const none :
       {R"({"response_format":{"type":"text"}})", R"({"grammar":""})", R"({"json_schema":null})",
        R"({"structured_outputs":{"json_object":false}})", R"({"guided_regex":""})"}) {
    EXPECT_FALSE(parse(none).grammar) << none;
  }
  EXPECT_FALSE(parse(R"({"structured_outputs":{"disable_any_whitespace":true,"json":{}}})").grammar->any_whitespace);
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
  EXPECT_EQ(parse(R"({"logprobs": null})", kCompletionsApi).logprobs, false);
  EXPECT_EQ(parse(R"({"logprobs": 0})", kCompletionsApi).logprobs, true);
}

// What the widest of the peers accepts with the same meaning is accepted here.
TEST_F(FieldsTest, RangesOfThePeers) {
  for (const Api* const api : {&kChatApi, &kCompletionsApi}) {
    EXPECT_EQ(parse(R"({"max_tokens": -1})", *api).max_tokens, -1);
    EXPECT_EQ(parse(R"({"max_completion_tokens": -1})", *api).max_tokens, -1);
    EXPECT_TRUE(parse(R"({"top_p": 0, "temperature": 1})", *api).sampling.is_greedy());
    EXPECT_TRUE(parse(R"({"top_p": 1e-60})", *api).sampling.is_greedy()) << "as the sampler's float";
    EXPECT_FALSE(parse(R"({"top_p": 0.01})", *api).sampling.is_greedy());
    EXPECT_GT(parse(R"({"typical_p": 0})", *api).sampling.typical_p, 0.0f);
    EXPECT_EQ(parse(R"({"seed": 18446744073709551615})", *api).sampling.seed, 18446744073709551615u);
    EXPECT_EQ(parse(R"({"seed": 9223372036854775808})", *api).sampling.seed, 9223372036854775808u);
    EXPECT_EQ(parse(R"({"seed": -9223372036854775808})", *api).sampling.seed, 9223372036854775808u);
    EXPECT_EQ(parse(R"({"seed": -2})", *api).sampling.seed, 18446744073709551614u);
    EXPECT_FALSE(parse(R"({"seed": -1})", *api).sampling.seed.has_value());
    EXPECT_EQ(refused(R"({"seed": 18446744073709551616})", *api), "seed");
    EXPECT_EQ(refused(R"({"n": 2, "best_of": 0})", *api), "accepted");
    EXPECT_EQ(refused(R"({"max_tokens": -2})", *api), "max_tokens");
  }
  EXPECT_EQ(refused(R"({"max_tokens": 0})"), "max_tokens");
  EXPECT_EQ(refused(R"({"max_tokens": 0})", kCompletionsApi), "accepted") << "an echo is scored without more tokens";
  EXPECT_EQ(refused(R"({"function_call": "auto"})"), "accepted");
  EXPECT_EQ(refused(R"({"functions": [{"name": "f"}], "function_call": {"name": "g"}})"), "function_call");
  EXPECT_EQ(refused(R"({"functions": [{"name": "f"}], "tools": [{"function": {"name": "f"}}]})"), "functions");
  EXPECT_EQ(refused(R"({"functions": [{"description": "f"}]})"), "functions[0].name");
  EXPECT_EQ(refused(R"({"function_call": "required"})"), "function_call");
}

// What OpenAI publishes as a maximum is no more than what is served here.
TEST_F(FieldsTest, LimitsReachOpenAisMaxima) {
  EXPECT_GE(limits_.choices, 128);
  EXPECT_GE(limits_.prompts, 2048);
  EXPECT_GE(limits_.stop_strings, 4);
  EXPECT_GE(limits_.top_logprobs, 20);
  EXPECT_GE(limits_.logprobs, 5);
  std::string list = "[";
  for (int i = 0; i < 2048; ++i) list += i > 0 ? ",\"a\"" : "\"a\"";
  EXPECT_EQ(parse("{\"input\": " + list + "]}", kEmbeddingsApi).prompts.size(), 2048u);
  EXPECT_EQ(refused("{\"input\": " + list + ",\"a\"]}", kEmbeddingsApi), "input");
}

TEST_F(FieldsTest, ALongRequestIdIsReplacedWhereverItStands) {
  const auto id = [&](size_t size) { return parse("{\"request_id\": \"" + std::string(size, 'x') + "\"}").request_id; };
  EXPECT_EQ(id(128).size(), 128u);
  EXPECT_EQ(id(200), "") << "the exchange's own id is taken";
  EXPECT_EQ(id(0), "");
}

TEST_F(FieldsTest, BrokenJsonIsNamed) {
  const auto message = [&](std::string_view body) {
    try {
      parse(body);
    } catch (const ApiError& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  for (const char* body : {R"({"user": "\ud800"})", R"({"user": "\udc00"})", R"({"user": "a\uD83D\n"})",
                           R"({"user": "\ud800\ud800"})", R"({"user": "\ud83dA"})"}) {
    EXPECT_NE(message(body).find("half of a surrogate pair"), std::string::npos) << body << message(body);
  }
  EXPECT_EQ(parse(R"({"user": "\ud83d\ude00"})").num_choices, 1);
  EXPECT_NE(message("{\"user\": \"\xff\"}").find("UTF-8"), std::string::npos);
  EXPECT_NE(message("{\"user\": \"a\nb\"}").find("control character \\x0a"), std::string::npos);
  EXPECT_NE(message("{\"n\": NaN}").find("NaN"), std::string::npos);
  EXPECT_NE(message("").find("empty"), std::string::npos);
}

TEST_F(FieldsTest, MessagesAsTheDialogueExpectsThem) {
  const ApiRequest request = parse(R"({"messages": [
      {"role": "developer", "content": "d"},
      {"role": "user", "name": "ann", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
      {"role": "user", "content": []},
      {"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f", "arguments": "{\"x\": 1}"}}]},
      {"role": "assistant", "content": null, "function_call": {"name": "f", "arguments": "{\"x\": 1}"}},
      {"role": "function", "name": "f", "content": "3"}]})");
  EXPECT_EQ(json::serialize(request.messages),
            R"([{"role":"system","content":"d"},{"role":"user","name":"ann",)"
            R"("content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},{"role":"user","content":""},)"
            R"({"role":"assistant","content":null,"tool_calls":[{"function":{"name":"f","arguments":{"x":1}}}]},)"
            R"({"role":"assistant","content":null,"tool_calls":[{"id":"function0","type":"function",)"
            R"("function":{"name":"f","arguments":{"x":1}}}]},)"
            R"({"role":"tool","name":"f","content":"3","tool_call_id":"function0"}])");
}

TEST_F(FieldsTest, PredictionsAreTextAndDraftsANumber) {
  for (const Api* const api : {&kChatApi, &kCompletionsApi}) {
    EXPECT_EQ(parse(R"({"prediction": {"type": "content", "content": "a\nb"}})", *api).prediction, "a\nb");
    EXPECT_EQ(
        parse(R"({"prediction": {"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}})", *api)
            .prediction,
        "ab");
    EXPECT_EQ(parse(R"({"prediction": {"content": []}})", *api).prediction, "");
    EXPECT_EQ(refused(R"({"prediction": {"type": "file", "content": "a"}})", *api), "prediction.type");
    EXPECT_EQ(refused(R"({"prediction": {"type": "content"}})", *api), "prediction.content");
    EXPECT_EQ(refused(R"({"prediction": {"content": [{"type": "text"}]}})", *api), "prediction.content[0].text");
    EXPECT_EQ(refused(R"({"prediction": {"content": [{"type": "image_url"}]}})", *api), "prediction.content[0].type");
    EXPECT_EQ(parse("{}", *api).max_drafts, -1);
    EXPECT_EQ(parse(R"({"speculative.n_max": 0, "speculative.p_min": 0.5})", *api).max_drafts, 0);
    EXPECT_EQ(refused(R"({"speculative.n_max": -1})", *api), "speculative.n_max");
  }
}

TEST_F(FieldsTest, TheDocumentationHasTheTable) {
  std::ifstream file(QUIRE_SOURCE_DIR "/docs/serving-api.md");
  const std::string document{std::istreambuf_iterator<char>(file), {}};
  const std::string table = fields_as_markdown(limits_);
  EXPECT_NE(document.find(table), std::string::npos) << "put this table into docs/serving-api.md:\n" << table;
}

}  // namespace
}  // namespace quire
