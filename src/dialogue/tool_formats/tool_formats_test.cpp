// Every format against samples of its calls, cut anywhere, and against text that is broken.
#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <iterator>

#include "base/error.h"
#include "base/json.h"
#include "dialogue/tool_formats/tool_format.h"

namespace quire {
namespace {

const std::vector<Tool>& tools() {
  static const std::vector<Tool> tools = {
      {.name = "get_weather",
       .parameters = parse_json(R"({"type": "object", "properties": {"city": {"type": "string"},
           "days": {"type": "integer"}, "places": {"type": "array"}}})",
                                "a schema")
                         .as_object()},
      {.name = "stop", .description = "ends it"}};
  return tools;
}

// "content|call name(arguments)|content": what the parts say. Arguments of a call are joined.
std::string said(const std::vector<AnswerPart>& parts) {
  std::string out;
  bool is_open = false;
  bool is_content = false;
  for (const AnswerPart& part : parts) {
    if (part.kind == AnswerPartKind::kArguments) {
      out += part.text;
      continue;
    }
    if (is_open) out += ')';
    is_open = part.kind == AnswerPartKind::kToolCall;
    if (is_open) out += "|" + part.text + "(";
    if (!is_open && !is_content) out += "|";
    if (!is_open) out += part.text;
    is_content = !is_open;
  }
  return out + (is_open ? ")" : "");
}

std::string read(const ToolFormat& format, const std::vector<std::string>& pieces) {
  const auto parser = format.make_parser(tools());
  std::vector<AnswerPart> parts;
  for (const std::string& piece : pieces) parser->push(piece, parts);
  parser->finish(parts);
  for (const AnswerPart& part : parts) {
    EXPECT_FALSE(part.text.empty()) << "a part that says nothing";
  }
  return said(parts);
}

struct Sample {
  const char* format;
  const char* text;
  const char* said;
};

const Sample kSamples[] = {
    {"hermes", "Hello there. ", "|Hello there. "},
    {"hermes", "a < b and <tool> and <tool_call", "|a < b and <tool> and <tool_call"},
    {"hermes",
     "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"New \\\"York\\\"\", \"x\": [1, "
     "{}]}}\n</tool_call>",
     R"(|get_weather({"city": "New \"York\"", "x": [1, {}]}))"},
    {"hermes",
     "I look.\n\n<tool_call>{\"name\":\"stop\",\"arguments\":{}}</tool_call>\n<tool_call>{\"arguments\": {\"a\": "
     "\"</tool_call>\"}, \"name\": \"f\"}</tool_call> Done",
     R"(|I look.|stop({})|f({"a": "</tool_call>"})|Done)"},
    {"hermes", "<tool_call>{\"name\": \"stop\"}</tool_call>", "|stop({})"},
    {"hermes", "<tool_call>{\"name\": \"stop\", \"arguments\": null}</tool_call>", "|stop({})"},
    {"hermes", "<tool_call>{\"name\": \"stop\", \"arguments\": \"{\\\"a\\\": 1}\"}</tool_call>", "|stop({\"a\": 1})"},
    {"hermes",
     "<tool_call>{\"type\": \"function\", \"function\": {\"name\": \"f\", \"arguments\": {\"a\": 1}}, \"id\": "
     "7}</tool_call>",
     "|f({\"a\": 1})"},
    {"hermes", "<tool_call>\nno call</tool_call>", "|<tool_call>\nno call</tool_call>"},
    {"hermes", "<tool_call>{\"nome\": 1}</tool_call>", "|<tool_call>{\"nome\": 1}</tool_call>"},
    {"hermes", "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 1]}}</tool_call>x", "|f({\"a\": 1)|x"},
    {"hermes", "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": \"b", "|f({\"a\": \"b)"},
    {"hermes", "<tool_call>{\"na", "|<tool_call>{\"na"},
    {"llama3_json", "{\"name\": \"get_weather\", \"parameters\": {\"city\": \"Paris\"}}",
     "|get_weather({\"city\": \"Paris\"})"},
    {"llama3_json", "<|python_tag|>{\"type\": \"function\", \"name\": \"other\", \"parameters\": {}}", "|other({})"},
    {"llama3_json", "{\"name\": \"stop\", \"parameters\": {}}; {\"name\": \"stop\", \"parameters\": {\"a\":1}}",
     "|stop({})|stop({\"a\":1})"},
    {"llama3_json", "{\"name\": \"Anna\", \"age\": 7}", "|{\"name\": \"Anna\", \"age\": 7}"},
    {"llama3_json", "{\"a\": [1, 2]} is JSON", "|{\"a\": [1, 2]} is JSON"},
    {"llama3_json", "So {\"name\": \"stop\", \"parameters\": {}}", "|So {\"name\": \"stop\", \"parameters\": {}}"},
    {"mistral",
     "[TOOL_CALLS][{\"name\": \"stop\", \"arguments\": {\"a\": 1}}, {\"name\": \"f\", \"arguments\": {}, \"id\": "
     "\"123456789\"}]",
     "|stop({\"a\": 1})|f({})"},
    {"mistral", "Yes.[TOOL_CALLS] [{\"name\": \"stop\", \"arguments\": {}}]", "|Yes.|stop({})"},
    {"mistral", "[TOOL_CALLS][]", ""},
    {"mistral_args", "[TOOL_CALLS]get_weather[ARGS]{\"city\": \"Oslo\"}[TOOL_CALLS]stop[CALL_ID]abc[ARGS]{}",
     "|get_weather({\"city\": \"Oslo\"})|stop({})"},
    {"mistral_args", "[TOOL_CALLS]get_weather{\"city\": \"Oslo\"}", "|get_weather({\"city\": \"Oslo\"})"},
    {"mistral_args", "[1] and [TOOL_CALL] are text", "|[1] and [TOOL_CALL] are text"},
    {"phi4_mini_json",
     "<|tool_call|>[{\"name\": \"stop\", \"arguments\": {}}, {\"name\": \"f\", \"arguments\": {\"a\": "
     "\"]\"}}]<|/tool_call|>",
     "|stop({})|f({\"a\": \"]\"})"},
    {"phi4_mini_json", "functools[{\"name\": \"stop\", \"arguments\": {}}]", "|stop({})"},
    {"functools", "Well, functools[{\"name\": \"stop\", \"arguments\": {}}]", "|Well,|stop({})"},
    {"functools", "the module functools is Python's", "|the module functools is Python's"},
    {"granite", "<|tool_call|>[{\"name\": \"stop\", \"arguments\": {}}]", "|stop({})"},
    {"granite", "<tool_call>[{\"name\": \"stop\", \"arguments\": {}}] and so on", "|stop({})|and so on"},
    {"cohere",
     "<|START_ACTION|>[\n    {\"tool_call_id\": \"0\", \"tool_name\": \"stop\", \"parameters\": {\"a\": "
     "1}}\n]<|END_ACTION|>",
     "|stop({\"a\": 1})"},
    {"nemotron", "<TOOLCALL>[{\"name\": \"stop\", \"arguments\": {}}]</TOOLCALL>", "|stop({})"},
    {"tool_calls",
     "<tool_calls>\n{\"name\": \"stop\", \"arguments\": {}}\n{\"name\": \"f\", \"arguments\": {}}\n</tool_calls>",
     "|stop({})|f({})"},
    {"deepseek_v3",
     "Let me see.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n{\"city\": "
     "\"Rome\"}\n```<｜tool▁call▁end｜>\n"
     "<｜tool▁call▁begin｜>function<｜tool▁sep｜>stop\n```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
     "|Let me see.|get_weather({\"city\": \"Rome\"})|stop({})"},
    {"deepseek_v3_1",
     "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>stop<｜tool▁sep｜>{\"a\": 1}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
     "|stop({\"a\": 1})"},
    {"deepseek_v3_1", "a ｜ b <｜ c", "|a ｜ b <｜ c"},
    {"deepseek_v3_2",
     "<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"get_weather\">\n<｜DSML｜parameter name=\"city\" "
     "string=\"true\">Rome</｜DSML｜parameter>\n<｜DSML｜parameter name=\"days\" "
     "string=\"false\">3</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜function_calls>",
     R"(|get_weather({"city": "Rome", "days": 3}))"},
    {"kimi_k2",
     "<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>{\"city\": "
     "\"Rome\"}<|tool_call_end|><|tool_call_begin|>functions.stop:1<|tool_call_argument_begin|>{}<|tool_call_end|><|"
     "tool_calls_section_end|>",
     "|get_weather({\"city\": \"Rome\"})|stop({})"},
    {"qwen3_coder",
     "Sure.\n<tool_call>\n<function=get_weather>\n<parameter=city>\nNew "
     "\"York\"\n\n</parameter>\n<parameter=days>\n3\n</parameter>\n<parameter=places>\n[1, "
     "2]\n</parameter>\n</function>\n</tool_call>",
     R"(|Sure.|get_weather({"city": "New \"York\"\n", "days": 3, "places": [1, 2]}))"},
    {"qwen3_coder", "<function=stop>\n</function>", "|stop({})"},
    {"qwen3_coder", "<tool_call>\n<function=get_weather>\n{\"city\": \"Rome\"}\n</function>\n</tool_call>",
     "|get_weather({\"city\": \"Rome\"})"},
    {"qwen3_coder", "<function=get_weather>\n<parameter=city>\nRome", "|get_weather({\"city\": \"Rome)"},
    {"qwen3_coder",
     "<function=get_weather>\n<parameter=days>\nmany\n</parameter>\n<parameter=extra>\n7\n</parameter>\n</function>",
     R"(|get_weather({"days": "many", "extra": "7"}))"},
    {"functionary_v3_1", "<function=stop>{\"a\": 1}</function><function=stop>{}</function>",
     "|stop({\"a\": 1})|stop({})"},
    {"glm45",
     "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Rome</arg_value>\n<arg_key>days</"
     "arg_key>\n<arg_value>3</arg_value>\n</tool_call>",
     R"(|get_weather({"city": "Rome", "days": 3}))"},
    {"glm45", "<tool_call>stop</tool_call> ", "|stop({})"},
    {"minimax_m2",
     "<minimax:tool_call>\n<invoke name=\"get_weather\">\n<parameter "
     "name=\"city\">Rome</parameter>\n</invoke>\n</minimax:tool_call>",
     R"(|get_weather({"city": "Rome"}))"},
    {"pythonic", "[get_weather(city='New York', days=-3, places=[1, 'a\\'b', {\"k\": (True, None)}]), stop()]",
     R"(|get_weather({"city": "New York", "days": -3, "places": [1, "a'b", {"k": [true, null]}]})|stop({}))"},
    {"pythonic", "<|python_start|>[stop(a=\"x)\")]<|python_end|>", "|stop({\"a\": \"x)\"})"},
    {"pythonic", "[1, 2] is a list", "|[1, 2] is a list"},
    {"pythonic", "[unknown(a=1)]", "|[unknown(a=1)]"},
    {"lfm2", "<|tool_call_start|>[stop(a=what is this)]<|tool_call_end|>Checking.",
     R"(|stop({"a": "what is this"})|Checking.)"},
    {"harmony",
     "<|channel|>analysis<|message|>Where? Rome <|or|>.<|end|><|start|>assistant<|channel|>commentary "
     "to=functions.get_weather <|constrain|>json<|message|>{\"city\": \"Rome\"}<|call|>",
     "|Where? Rome <|or|>.|get_weather({\"city\": \"Rome\"})"},
    {"harmony", " to=functions.stop<|channel|>commentary json<|message|><|call|>", "|stop({})"},
    {"harmony",
     "<|channel|>commentary<|message|>I look.<|end|><|start|>assistant to=functions.stop<|channel|>commentary "
     "json<|message|>{\"a\": \"<|\"}",
     "|I look.|stop({\"a\": \"<|\"})"},
    {"harmony",
     "<|channel|>commentary<|message|>One.<|end|><|start|>assistant<|channel|>final<|message|>a < b<|return|>",
     "|One.\n\na < b"},
    {"harmony", "No head, to=functions.stop", "|No head, to=functions.stop"},
    {"harmony", "<|channel|>final", ""},
    {"gemma4",
     "Sure.<|tool_call>call:get_weather{city:<|\"|>New \"York\"<|\"|>,days:-3,places:[1,<|\"|>a{,}<|\"|>, "
     "true],x:{<|\"|>k<|\"|>:null,e:{},l:[]}}<tool_call|>",
     R"(|Sure.|get_weather({"city": "New \"York\"", "days": -3, "places": [1, "a{,}", true], "x": {"k": null, "e": {}, "l": []}}))"},
    {"gemma4", "<|tool_call>call:stop{}<tool_call|><|tool_call>call:stop{a:what is this,b:}<tool_call|>",
     R"(|stop({})|stop({"a": "what is this", "b": ""}))"},
    {"gemma4", "<|tool_call>stop{}<tool_call|>", "|<|tool_call>stop{}<tool_call|>"},
    {"gemma4", "<|tool_call>call:stop{a]}<tool_call|>x", "|stop({)|x"},
    {"gemma4", "<|tool_call>call:stop{a:<|\"|>b<", "|stop({\"a\": \"b)"},
    {"functiongemma", "<start_function_call>call:get_weather{city:<escape>Rome<escape>}<end_function_call>",
     R"(|get_weather({"city": "Rome"}))"},
    {"generic", "<tool_call>\n{\"name\": \"stop\", \"arguments\": {}}\n</tool_call>", "|stop({})"},
};

TEST(ToolFormats, ReadTheirCallsHoweverTheTextIsCut) {
  for (const Sample& sample : kSamples) {
    const ToolFormat* format = find_tool_format(sample.format);
    ASSERT_NE(format, nullptr) << sample.format;
    const std::string text = sample.text;
    EXPECT_EQ(read(*format, {text}), sample.said) << sample.format << ": " << text;
    for (size_t at = 1; at < text.size(); ++at) {
      EXPECT_EQ(read(*format, {text.substr(0, at), text.substr(at)}), sample.said) << text << ", cut at " << at;
    }
    std::vector<std::string> bytes;
    for (const char c : text) bytes.emplace_back(1, c);
    EXPECT_EQ(read(*format, bytes), sample.said) << text << ", byte by byte";
  }
}

TEST(ToolFormats, EachHasASample) {
  for (const ToolFormat& format : tool_formats()) {
    EXPECT_TRUE(std::any_of(std::begin(kSamples), std::end(kSamples), [&](const Sample& sample) {
      return sample.format == format.name;
    })) << format.name;
  }
}

// What a format's grammar forces is what its parser reads.
TEST(ToolFormats, ReadWhatTheirGrammarsForce) {
  for (const ToolFormat& format : tool_formats()) {
    const CallWriting& writing = format.writing;
    if (!writing.is_known()) continue;
    std::string text{writing.begin};
    for (int i = 0; i < (writing.may_repeat ? 2 : 1); ++i) {
      if (i > 0) text += writing.between;
      text += writing.before_name;
      text += "get_weather";
      text += writing.before_arguments;
      text += R"({"city": "Rome"})";
      text += writing.after_arguments;
    }
    text += writing.end;
    EXPECT_TRUE((std::string(writing.begin) + std::string(writing.before_name)).starts_with(writing.trigger));
    const std::string one = R"(|get_weather({"city": "Rome"}))";
    EXPECT_EQ(read(format, {text}), writing.may_repeat ? one + one : one) << format.name << ": " << text;
    std::vector<std::string> bytes;
    for (const char c : text) bytes.emplace_back(1, c);
    EXPECT_EQ(read(format, bytes), writing.may_repeat ? one + one : one) << format.name << ": " << text;
  }
}

TEST(ToolFormats, TellArgumentsAsTheyCome) {
  const auto parser = find_tool_format("hermes")->make_parser(tools());
  std::vector<AnswerPart> parts;
  parser->push("<tool_call>{\"name\": \"stop\", \"arguments\": {\"text\": \"one ", parts);
  EXPECT_EQ(said(parts), "|stop({\"text\": \"one )");
  parser->push("two\"}", parts);
  EXPECT_EQ(said(parts), "|stop({\"text\": \"one two\"})");
}

// Broken text of every kind: no crash, and nothing is told twice. Time is linear: a megabyte in small pieces.
TEST(ToolFormats, SurviveAnything) {
  const char* const kPieces[] = {"{",
                                 "[",
                                 "\"",
                                 "\\",
                                 "}",
                                 "]",
                                 "<tool_call>",
                                 "{\"name\": \"stop\", \"arguments\": ",
                                 "</tool_call>",
                                 " ",
                                 "<",
                                 "[TOOL_CALLS]",
                                 "stop(",
                                 "a=",
                                 "'",
                                 ")",
                                 "<function=stop>",
                                 "<parameter=a>",
                                 "</parameter>",
                                 ":",
                                 ",",
                                 "1",
                                 "null",
                                 "<arg_key>",
                                 "\n",
                                 "\xF0\x9F\x91\xA8",
                                 "<｜tool▁call▁begin｜>",
                                 "<｜tool▁sep｜>",
                                 "<|channel|>",
                                 "<|message|>",
                                 " to=functions.stop",
                                 "<|end|>",
                                 "<|start|>",
                                 "<|tool_call>",
                                 "call:stop",
                                 "<|\"|>",
                                 "<tool_call|>",
                                 "{\"name\": \"stop\""};
  uint32_t state = 1;
  const auto next = [&] { return (state = state * 1664525u + 1013904223u) >> 8; };
  for (const ToolFormat& format : tool_formats()) {
    for (int round = 0; round < 40; ++round) {
      std::vector<std::string> pieces;
      for (uint32_t i = next() % 20; i > 0; --i) pieces.emplace_back(kPieces[next() % std::size(kPieces)]);
      std::string whole;
      for (const std::string& piece : pieces) whole += piece;
      EXPECT_EQ(read(format, pieces), read(format, {whole})) << format.name << ": " << whole;
    }
  }
  const char* const kRepeated[] = {
      "{\"name\": \"stop\", \"arguments\": {\"a\": \"b\"}} ", "<", "[", "{\"a\":", "\"x", "   "};
  size_t which = 0;
  for (const ToolFormat& format : tool_formats()) {
    const char* const piece = kRepeated[which++ % std::size(kRepeated)];
    std::string slice;
    while (slice.size() < 8192) slice += piece;
    const auto parser = format.make_parser(tools());
    std::vector<AnswerPart> parts;
    parser->push("<tool_call>{\"name\": \"stop\", \"arguments\": [\"", parts);
    for (int i = 0; i < 2000; ++i) parser->push(piece, parts);
    for (int i = 0; i < 128; ++i) {
      parser->push(slice, parts);
      parts.clear();
    }
    parser->finish(parts);
  }
}

TEST(ToolFormats, NamesAreUnique) {
  std::vector<std::string_view> names;
  for (const ToolFormat& format : tool_formats()) {
    names.push_back(format.name);
    names.insert(names.end(), format.aliases.begin(), format.aliases.end());
  }
  std::sort(names.begin(), names.end());
  EXPECT_EQ(std::adjacent_find(names.begin(), names.end()), names.end());
  EXPECT_EQ(find_tool_format("no such"), nullptr);
}

}  // namespace
}  // namespace quire
