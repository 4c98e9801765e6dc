#include "server/apis/apis.h"
#include "server/apis/shared_fields.h"

namespace quire {
namespace fields {
namespace {

// clang-format off
constexpr auto kChatOwn = std::to_array<Field>({
    {"max_tokens", kInteger, "most tokens to generate; -1 or absent: no limit but the context",
     [](Out& out, const Value& value, const Context&) { store_max_tokens("max_tokens", 1, out, value); }, -1, kInt32Max},
    {"n_probs", kInteger, "llama-server's name of logprobs with top_logprobs",
     [](Out& out, const Value& value, const Context&) {
       out.logprobs = integer(value) > 0;
       if (out.logprobs) out.top_logprobs = small(value);
     },
     0, 0, false, &Limits::top_logprobs},
    {"logprobs", kBool, "reports each token's log probability",
     [](Out& out, const Value& value, const Context&) {
       out.logprobs = value.get_bool();
       if (!out.logprobs) out.top_logprobs.reset();
     }},
    {"top_logprobs", kInteger, "reports log probabilities of that many of the likeliest tokens, too",
     [](Out& out, const Value& value, const Context&) {
       if (integer(value) > 0 || out.logprobs) out.top_logprobs = small(value);
     },
     0, 0, false, &Limits::top_logprobs},
    other_field("tool_choice", R"({"anyOf": [{"enum": ["none", "auto", "required"]}, {"type": "object"}]})", "`none`, `auto` (the default), `required`, or an object that names a function: whether tools are called",
     [](Out& out, const Value& value, const Context&) { read_tool_choice(out, value); }),
    other_field("modalities", R"({"type": "array", "items": {"const": "text"}})", "`[\"text\"]`",
     [](Out&, const Value& value, const Context&) {
       allow_only("modalities", value, [](const Value& list) {
         return list.is_array() && (list.get_array().empty() || (list.get_array().size() == 1 && list.get_array()[0] == "text"));
       }, "[\"text\"]");
     }),
    {"thinking_token_budget", kInteger, "most tokens of reasoning, after which the answer begins",
     [](Out& out, const Value& value, const Context&) { out.thinking_token_budget = integer(value); }, 0, kInt32Max},
    {"audio", kRefused, "spoken answers"},
    {"web_search_options", kRefused, "searching the web"},
    {"moderation", kRefused, "judging the text"},
    {"parallel_tool_calls", kBool, "false: at most one call; default true",
     [](Out& out, const Value& value, const Context&) { out.parallel_tool_calls = value.get_bool(); }},
    other_field("functions", R"({"type": "array", "items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "description": {"type": "string"}, "parameters": {"type": "object"}}}})",
     "an older form of tools: `name`, `description`, `parameters`; the answer then has `function_call` instead of `tool_calls`, one at most",
     [](Out& out, const Value& value, const Context& context) { read_functions(out, value, context); }),
    other_field("function_call", R"({"anyOf": [{"enum": ["none", "auto"]}, {"type": "object", "required": ["name"]}]})",
     "of functions: `none`, `auto` (the default), or an object with the `name` of one that is called",
     [](Out& out, const Value& value, const Context&) { read_function_call(out, value); }),
    {"include_reasoning", kBool, "false: what the model thinks before it answers is left out; default true",
     [](Out& out, const Value& value, const Context&) { out.include_reasoning = value.get_bool(); }},
    {"verbosity", kIgnored, "there is no such control"},
});
// clang-format on

constexpr auto kChatFields =
    join(kModelField, kConversationFields, kSpecialTokenFields, kTruncateField, kLengthAlias, kChatOwn, kStoppingFields,
         kSamplingFields, kOutputFields, kServingFields, kSpeculationFields, kGenerationFields, kStructureFields,
         kRefusedFields, kUserField, kIgnoredFields);

void check_chat(const ApiRequest& request) {
  check_generation(request);
  if (request.top_logprobs && !request.logprobs) {
    refuse_field("top_logprobs", "'top_logprobs' is allowed only together with \"logprobs\": true");
  }
  check_conversation(request);
}

}  // namespace
}  // namespace fields

constinit const Api kChatApi{.name = "chat",
                             .schema = "ChatRequest",
                             .fields = fields::kChatFields,
                             .required = "messages",
                             .check = fields::check_chat};

}  // namespace quire
