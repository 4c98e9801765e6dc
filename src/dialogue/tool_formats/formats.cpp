// The list of formats. Names are vLLM's where it has the format.
#include <algorithm>
#include <array>

#include "dialogue/channels.h"
#include "dialogue/tool_formats/bare_key_calls.h"
#include "dialogue/tool_formats/json_calls.h"
#include "dialogue/tool_formats/pair_calls.h"
#include "dialogue/tool_formats/python_calls.h"
#include "dialogue/tool_formats/tool_format.h"

namespace quire {
namespace {

using namespace std::string_view_literals;

using Tools = std::span<const Tool>;
using Reader = std::unique_ptr<CallReader>;

bool has(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

Reader json_reader(char first, bool, Tools) { return first == '{' ? make_json_call_reader() : nullptr; }
Reader python_reader(char first, bool in_list, Tools) {
  const bool is_letter = (first >= 'a' && first <= 'z') || (first >= 'A' && first <= 'Z') || first == '_';
  return in_list && is_letter ? make_python_call_reader() : nullptr;
}

// What stands between the last `mark` and the end of the head.
std::string_view behind(std::string_view head, std::string_view mark) {
  const size_t at = head.rfind(mark);
  return at == std::string_view::npos ? head : head.substr(at + mark.size());
}
std::string_view before(std::string_view head, std::string_view mark) { return head.substr(0, head.find(mark)); }

// [TOOL_CALLS]name[ARGS]{...}, also with [CALL_ID]id before [ARGS].
std::string_view mistral_name(std::string_view head) { return trimmed(before(head, "[")); }
Reader mistral_reader(char first, bool in_list, Tools tools) {
  if (first == '{') return json_reader(first, in_list, tools);
  return in_list ? nullptr : make_headed_call_reader(mistral_name);
}

constexpr std::string_view kDeepSeekSep = "<｜tool▁sep｜>";
// type<｜tool▁sep｜>name, a line break, and a fence of JSON.
std::string_view deepseek_v3_name(std::string_view head) {
  return has(head, kDeepSeekSep) ? trimmed(before(trimmed(behind(head, kDeepSeekSep)), "\n")) : "";
}
Reader deepseek_v3_reader(char, bool, Tools) { return make_headed_call_reader(deepseek_v3_name); }
std::string_view deepseek_v31_name(std::string_view head) {
  return has(head, kDeepSeekSep) ? trimmed(before(head, kDeepSeekSep)) : "";
}
Reader deepseek_v31_reader(char, bool, Tools) { return make_headed_call_reader(deepseek_v31_name); }

// functions.name:index
std::string_view kimi_name(std::string_view head) {
  std::string_view id = trimmed(before(head, "<|tool_call_argument_begin|>"));
  if (id.starts_with("functions.")) id.remove_prefix(10);
  return id.substr(0, id.rfind(':'));
}
Reader kimi_reader(char, bool, Tools) { return make_headed_call_reader(kimi_name); }

constexpr PairMarks kQwenPairs = {
    .begin = "<parameter=", .key_end = ">", .text_end = "</parameter>", .end = "</function>", .has_lines = true};
Reader qwen_reader(char, bool, Tools tools) { return make_pair_call_reader(kQwenPairs, tools); }
constexpr PairMarks kGlmPairs = {
    .begin = "<arg_key>", .key_end = "<arg_value>", .text_end = "</arg_value>", .end = "</tool_call>"};
Reader glm_reader(char, bool, Tools tools) { return make_pair_call_reader(kGlmPairs, tools); }
constexpr PairMarks kInvokePairs = {
    .begin = "<parameter name=", .key_end = ">", .text_end = "</parameter>", .end = "</invoke>"};
Reader invoke_reader(char, bool, Tools tools) { return make_pair_call_reader(kInvokePairs, tools); }
constexpr PairMarks kDsmlPairs = {.begin = "<｜DSML｜parameter name=",
                                  .key_end = ">",
                                  .text_end = "</｜DSML｜parameter>",
                                  .end = "</｜DSML｜invoke>"};
Reader dsml_reader(char, bool, Tools tools) { return make_pair_call_reader(kDsmlPairs, tools); }

Reader gemma_reader(char first, bool, Tools) { return first == 'c' ? make_bare_key_call_reader("<|\"|>") : nullptr; }
Reader function_gemma_reader(char first, bool, Tools) {
  return first == 'c' ? make_bare_key_call_reader("<escape>") : nullptr;
}

// clang-format off
constexpr std::array kHarmonyAliases = {"openai"sv, "gpt_oss"sv};
constexpr std::array kGemmaBegins = {"<|tool_call>"sv};
constexpr std::array kGemmaEnds = {"<tool_call|>"sv};
constexpr std::array kGemmaInner = {"<|\"|>"sv};
constexpr std::array kFunctionGemmaBegins = {"<start_function_call>"sv};
constexpr std::array kFunctionGemmaEnds = {"<end_function_call>"sv};
constexpr std::array kFunctionGemmaInner = {"<escape>"sv};
constexpr std::array kDeepSeekV31Aliases = {"deepseek_v31"sv};
constexpr std::array kDeepSeekV3Aliases = {"deepseek_r1"sv};
constexpr std::array kDeepSeekV32Aliases = {"deepseek_v4"sv};
constexpr std::array kDeepSeekBegins = {"<｜tool▁call▁begin｜>"sv};
constexpr std::array kDeepSeekEnds = {"<｜tool▁call▁end｜>"sv};
constexpr std::array kDeepSeekSilent = {"<｜tool▁calls▁begin｜>"sv, "<｜tool▁calls▁end｜>"sv};
constexpr std::array kDeepSeekInner = {"<｜tool▁sep｜>"sv};
constexpr std::array kDsmlBegins = {"<｜DSML｜invoke name="sv};
constexpr std::array kDsmlEnds = {"</｜DSML｜invoke>"sv};
constexpr std::array kDsmlSilent = {"<｜DSML｜function_calls>"sv, "</｜DSML｜function_calls>"sv, "<｜DSML｜tool_calls>"sv, "</｜DSML｜tool_calls>"sv};
constexpr std::array kKimiAliases = {"kimi"sv};
constexpr std::array kKimiBegins = {"<|tool_call_begin|>"sv};
constexpr std::array kKimiEnds = {"<|tool_call_end|>"sv};
constexpr std::array kKimiSilent = {"<|tool_calls_section_begin|>"sv, "<|tool_calls_section_end|>"sv};
constexpr std::array kKimiInner = {"<|tool_call_argument_begin|>"sv};
constexpr std::array kMistralInner = {"[ARGS]"sv, "[CALL_ID]"sv};
constexpr std::array kMistralBegins = {"[TOOL_CALLS]"sv};
constexpr std::array kQwenAliases = {"qwen3_xml"sv, "seed_oss"sv, "step3p5"sv, "nemotron_v3"sv};
constexpr std::array kFunctionBegins = {"<function="sv};
constexpr std::array kFunctionEnds = {"</function>"sv};
constexpr std::array kQwenSilent = {"<tool_call>"sv, "</tool_call>"sv, "<seed:tool_call>"sv, "</seed:tool_call>"sv};
constexpr std::array kGlmAliases = {"glm47"sv};
constexpr std::array kMinimaxBegins = {"<invoke name="sv};
constexpr std::array kMinimaxEnds = {"</invoke>"sv};
constexpr std::array kMinimaxSilent = {"<minimax:tool_call>"sv, "</minimax:tool_call>"sv};
constexpr std::array kPhiAliases = {"phi4"sv};
constexpr std::array kPhiBegins = {"<|tool_call|>"sv, "functools"sv};
constexpr std::array kPhiEnds = {"<|/tool_call|>"sv};
constexpr std::array kGraniteAliases = {"granite-20b-fc"sv};
constexpr std::array kGraniteBegins = {"<|tool_call|>"sv, "<tool_call>"sv};
constexpr std::array kFunctoolsAliases = {"firefunction"sv};
constexpr std::array kFunctoolsBegins = {"functools"sv};
constexpr std::array kCohereBegins = {"<|START_ACTION|>"sv};
constexpr std::array kCohereEnds = {"<|END_ACTION|>"sv};
constexpr std::array kNemotronBegins = {"<TOOLCALL>"sv};
constexpr std::array kNemotronEnds = {"</TOOLCALL>"sv};
constexpr std::array kToolCallsAliases = {"apriel"sv, "minimax"sv};
constexpr std::array kToolCallsBegins = {"<tool_calls>"sv};
constexpr std::array kToolCallsEnds = {"</tool_calls>"sv};
constexpr std::array kLfmBegins = {"<|tool_call_start|>"sv};
constexpr std::array kLfmEnds = {"<|tool_call_end|>"sv};
constexpr std::array kHermesAliases = {"qwen2_5"sv, "qwen3"sv, "granite4"sv};
constexpr std::array kHermesBegins = {"<tool_call>"sv};
constexpr std::array kHermesEnds = {"</tool_call>"sv};
constexpr std::array kLlamaAliases = {"llama4_json"sv, "llama3"sv};
constexpr std::array kLlamaBegins = {"<|python_tag|>"sv};
constexpr std::array kPythonicAliases = {"llama4_pythonic"sv, "llama3_pythonic"sv};
constexpr std::array kPythonicBegins = {"<|python_start|>"sv};
constexpr std::array kPythonicSilent = {"<|python_end|>"sv};

constexpr CallWriting listed(std::string_view begin, std::string_view end, std::string_view trigger) {
  return {.begin = begin, .before_name = R"({"name": ")", .before_arguments = R"(", "arguments": )",
          .after_arguments = "}", .between = ", ", .end = end, .trigger = trigger};
}
constexpr CallWriting kHermesWriting = {
    .begin = "<tool_call>\n", .before_name = R"({"name": ")", .before_arguments = R"(", "arguments": )",
    .after_arguments = "}", .between = "\n</tool_call>\n<tool_call>\n", .end = "\n</tool_call>", .trigger = "<tool_call>"};

constexpr std::array kFormats = {
    ToolFormat{.name = "harmony", .aliases = kHarmonyAliases,
               .is_in = [](std::string_view text) { return has(text, "<|channel|>commentary"); },
               .marks = {.inner = channels::kMarks}, .make_reader = json_reader,
               .writing = {.before_name = "<|channel|>commentary to=functions.",
                           .before_arguments = " <|constrain|>json<|message|>", .after_arguments = "<|call|>",
                           .may_repeat = false, .trigger = "<|channel|>commentary to=functions.",
                           .before_content = channels::kFinal},
               .make_own_parser = make_channel_call_parser},
    ToolFormat{"gemma4", {}, [](std::string_view text) { return has(text, "<|tool_call>call:"); },
               {.begins = kGemmaBegins, .ends = kGemmaEnds, .inner = kGemmaInner}, gemma_reader,
               {.before_name = "<|tool_call>call:", .after_arguments = "<tool_call|>", .trigger = "<|tool_call>"}},
    ToolFormat{"functiongemma", {}, [](std::string_view text) { return has(text, "<start_function_call>"); },
               {.begins = kFunctionGemmaBegins, .ends = kFunctionGemmaEnds, .inner = kFunctionGemmaInner}, function_gemma_reader,
               {.before_name = "<start_function_call>call:", .after_arguments = "<end_function_call>", .trigger = "<start_function_call>"}},
    ToolFormat{"deepseek_v3", kDeepSeekV3Aliases,
               [](std::string_view text) { return has(text, "<｜tool▁call▁begin｜>") && has(text, "```json"); },
               {.begins = kDeepSeekBegins, .ends = kDeepSeekEnds, .silent = kDeepSeekSilent, .inner = kDeepSeekInner}, deepseek_v3_reader,
               {.begin = "<｜tool▁calls▁begin｜>", .before_name = "<｜tool▁call▁begin｜>function<｜tool▁sep｜>",
                .before_arguments = "\n```json\n", .after_arguments = "\n```<｜tool▁call▁end｜>", .between = "\n",
                .end = "<｜tool▁calls▁end｜>", .trigger = "<｜tool▁calls▁begin｜>"}},
    ToolFormat{"deepseek_v3_1", kDeepSeekV31Aliases,
               [](std::string_view text) { return has(text, "<｜tool▁call▁begin｜>"); },
               {.begins = kDeepSeekBegins, .ends = kDeepSeekEnds, .silent = kDeepSeekSilent, .inner = kDeepSeekInner}, deepseek_v31_reader,
               {.begin = "<｜tool▁calls▁begin｜>", .before_name = "<｜tool▁call▁begin｜>",
                .before_arguments = "<｜tool▁sep｜>", .after_arguments = "<｜tool▁call▁end｜>",
                .end = "<｜tool▁calls▁end｜>", .trigger = "<｜tool▁calls▁begin｜>"}},
    ToolFormat{"deepseek_v3_2", kDeepSeekV32Aliases,
               [](std::string_view text) { return has(text, "｜DSML｜") || has(text, "DSML"); },
               {.begins = kDsmlBegins, .ends = kDsmlEnds, .silent = kDsmlSilent}, dsml_reader,
               {.begin = "<｜DSML｜function_calls>\n", .before_name = "<｜DSML｜invoke name=\"", .before_arguments = "\">\n",
                .after_arguments = "\n</｜DSML｜invoke>", .between = "\n", .end = "\n</｜DSML｜function_calls>",
                .trigger = "<｜DSML｜function_calls>"}},
    ToolFormat{"kimi_k2", kKimiAliases,
               [](std::string_view text) { return has(text, "<|tool_call_begin|>"); },
               {.begins = kKimiBegins, .ends = kKimiEnds, .silent = kKimiSilent, .inner = kKimiInner}, kimi_reader,
               {.begin = "<|tool_calls_section_begin|>", .before_name = "<|tool_call_begin|>functions.",
                .before_arguments = ":0<|tool_call_argument_begin|>", .after_arguments = "<|tool_call_end|>",
                .end = "<|tool_calls_section_end|>", .may_repeat = false, .trigger = "<|tool_calls_section_begin|>"},
               CallIds::kNamed},
    ToolFormat{"mistral_args", {},
               [](std::string_view text) { return has(text, "[TOOL_CALLS]") && has(text, "[ARGS]"); },
               {.begins = kMistralBegins, .inner = kMistralInner}, mistral_reader,
               {.before_name = "[TOOL_CALLS]", .before_arguments = "[ARGS]", .trigger = "[TOOL_CALLS]"},
               CallIds::kNine},
    ToolFormat{"mistral", {},
               [](std::string_view text) { return has(text, "[TOOL_CALLS]"); },
               {.begins = kMistralBegins, .inner = kMistralInner}, mistral_reader, listed("[TOOL_CALLS][", "]", "[TOOL_CALLS]"),
               CallIds::kNine},
    ToolFormat{"qwen3_coder", kQwenAliases,
               [](std::string_view text) { return has(text, "<function=") && has(text, "<parameter="); },
               {.begins = kFunctionBegins, .ends = kFunctionEnds, .silent = kQwenSilent}, qwen_reader,
               {.before_name = "<tool_call>\n<function=", .before_arguments = ">\n",
                .after_arguments = "\n</function>\n</tool_call>", .between = "\n", .trigger = "<tool_call>"}},
    ToolFormat{"functionary_v3_1", {},
               [](std::string_view text) { return has(text, "<function="); },
               {.begins = kFunctionBegins, .ends = kFunctionEnds}, qwen_reader,
               {.before_name = "<function=", .before_arguments = ">", .after_arguments = "</function>",
                .trigger = "<function="}},
    ToolFormat{"glm45", kGlmAliases, [](std::string_view text) { return has(text, "<arg_key>"); },
               {.begins = kHermesBegins, .ends = kHermesEnds}, glm_reader,
               {.before_name = "<tool_call>", .before_arguments = "\n", .after_arguments = "\n</tool_call>",
                .between = "\n", .trigger = "<tool_call>"}},
    ToolFormat{"minimax_m2", {},
               [](std::string_view text) { return has(text, "<minimax:tool_call>"); },
               {.begins = kMinimaxBegins, .ends = kMinimaxEnds, .silent = kMinimaxSilent}, invoke_reader,
               {.begin = "<minimax:tool_call>\n", .before_name = "<invoke name=\"", .before_arguments = "\">\n",
                .after_arguments = "\n</invoke>", .between = "\n", .end = "\n</minimax:tool_call>",
                .trigger = "<minimax:tool_call>"}},
    ToolFormat{"phi4_mini_json", kPhiAliases, [](std::string_view text) { return has(text, "<|/tool_call|>"); },
               {.begins = kPhiBegins, .ends = kPhiEnds}, json_reader,
               listed("<|tool_call|>[", "]<|/tool_call|>", "<|tool_call|>")},
    ToolFormat{"granite", kGraniteAliases, [](std::string_view text) { return has(text, "<|tool_call|>"); },
               {.begins = kGraniteBegins}, json_reader, listed("<|tool_call|>[", "]", "<|tool_call|>")},
    ToolFormat{"functools", kFunctoolsAliases, [](std::string_view text) { return has(text, "functools["); },
               {.begins = kFunctoolsBegins}, json_reader, listed("functools[", "]", "functools[")},
    ToolFormat{"cohere", {}, [](std::string_view text) { return has(text, "<|START_ACTION|>"); },
               {.begins = kCohereBegins, .ends = kCohereEnds}, json_reader,
               {.begin = "<|START_ACTION|>[", .before_name = R"({"tool_call_id": "0", "tool_name": ")",
                .before_arguments = R"(", "parameters": )", .after_arguments = "}", .between = ", ",
                .end = "]<|END_ACTION|>", .may_repeat = false, .trigger = "<|START_ACTION|>"}},
    ToolFormat{"nemotron", {}, [](std::string_view text) { return has(text, "<TOOLCALL>"); },
               {.begins = kNemotronBegins, .ends = kNemotronEnds}, json_reader,
               listed("<TOOLCALL>[", "]</TOOLCALL>", "<TOOLCALL>")},
    ToolFormat{"tool_calls", kToolCallsAliases, [](std::string_view text) { return has(text, "<tool_calls>"); },
               {.begins = kToolCallsBegins, .ends = kToolCallsEnds}, json_reader,
               listed("<tool_calls>[", "]</tool_calls>", "<tool_calls>")},
    ToolFormat{"lfm2", {}, [](std::string_view text) { return has(text, "<|tool_call_start|>") || has(text, "<|tool_list_start|>"); },
               {.begins = kLfmBegins, .ends = kLfmEnds}, python_reader},
    ToolFormat{"hermes", kHermesAliases, [](std::string_view text) { return has(text, "<tool_call>") && !has(text, "<invoke name="); },
               {.begins = kHermesBegins, .ends = kHermesEnds}, json_reader, kHermesWriting},
    ToolFormat{"pythonic", kPythonicAliases,
               [](std::string_view text) { return has(text, "<|python_start|>") || has(text, "func_name1(params_name1"); },
               {.begins = kPythonicBegins, .silent = kPythonicSilent, .bare = "["}, python_reader},
    ToolFormat{"llama3_json", kLlamaAliases,
               [](std::string_view text) {
                 return has(text, "<|python_tag|>") || has(text, R"({"name": function name, "parameters")");
               },
               {.begins = kLlamaBegins, .bare = "{["}, json_reader,
               {.before_name = R"({"name": ")", .before_arguments = R"(", "parameters": )", .after_arguments = "}",
                .may_repeat = false, .trigger = R"({"name": ")"}},
    ToolFormat{"generic", {}, [](std::string_view) { return true; },
               {.begins = kHermesBegins, .ends = kHermesEnds, .bare = "{"}, json_reader, kHermesWriting},
};
// clang-format on

}  // namespace

std::span<const ToolFormat> tool_formats() { return kFormats; }

const ToolFormat& generic_tool_format() { return kFormats.back(); }

const ToolFormat* find_tool_format(std::string_view name) {
  for (const ToolFormat& format : kFormats) {
    const bool is_alias = std::find(format.aliases.begin(), format.aliases.end(), name) != format.aliases.end();
    if (format.name == name || is_alias) return &format;
  }
  return nullptr;
}

const ToolFormat& detect_tool_format(std::string_view chat_template) {
  return *std::find_if(kFormats.begin(), kFormats.end(),
                       [&](const ToolFormat& format) { return format.is_in(chat_template); });
}

std::string tool_format_names() {
  std::string out;
  for (const ToolFormat& format : kFormats) out += (out.empty() ? "" : ", ") + std::string(format.name);
  return out;
}

}  // namespace quire
