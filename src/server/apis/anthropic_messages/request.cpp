#include "server/apis/anthropic_messages/conversation.h"
#include "server/apis/apis.h"
#include "server/apis/shared_fields.h"

namespace quire {
namespace fields {
namespace {

// clang-format off
constexpr auto kThinking = std::to_array<Field>({
    other_field("type", R"({"enum": ["enabled", "adaptive", "disabled"]})",
     "`enabled` or `adaptive`: the model thinks, if it can, and the answer shows it; `disabled`",
     [](Out& out, const Value& value, const Context&) {
       const bool is_on = value == "enabled" || value == "adaptive";
       if (!is_on && value != "disabled") refuse_value("thinking.type", "one of enabled, adaptive, disabled", value);
       out.template_variables["enable_thinking"] = is_on;
     }),
    {"budget_tokens", kInteger, "tokens of thinking after which the answer begins",
     [](Out& out, const Value& value, const Context&) { out.thinking_token_budget = integer(value); }, 1, kInt32Max},
});

constexpr auto kOutputConfig = std::to_array<Field>({
    {"effort", kString, "given to the chat template as reasoning_effort",
     [](Out& out, const Value& value, const Context&) {
       out.reasoning_effort = text(value);
       out.template_variables["reasoning_effort"] = value;
     },
     1, 64},
    other_field("format", R"({"type": "object"})", "`type` (`json_schema`) and `schema`: the form of the answer",
     [](Out& out, const Value& value, const Context& context) { anthropic::read_format(out, "output_config.format", value, context); }),
});

// `system` before `messages`: in this order they make the conversation.
constexpr auto kMessagesOwn = std::to_array<Field>({
    other_field("system", R"({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "object"}}]})",
     "the system prompt: a string or a list of text blocks",
     [](Out& out, const Value& value, const Context& context) { anthropic::read_system(out, value, context); }),
    other_field("messages", R"({"type": "array", "minItems": 1, "items": {"type": "object"}})",
     "list of messages: `role` (user, assistant, system) and `content` (string, or blocks of text, thinking, tool_use, tool_result); "
     "a last message of the assistant is continued",
     [](Out& out, const Value& value, const Context& context) { anthropic::read_messages(out, value, context); }),
    {"max_tokens", kInteger, "most tokens to generate; needed. Where the context has less room, the answer ends there",
     [](Out& out, const Value& value, const Context&) { out.max_tokens = integer(value); }, 1, kInt32Max},
    other_field("stop_sequences", R"({"type": "array", "items": {"type": "string"}})",
     "list of strings that end the text; not part of it",
     [](Out& out, const Value& value, const Context& context) {
       if (!value.is_array()) refuse_value("stop_sequences", "a list of strings", value);
       out.stop = read_stop("stop_sequences", value, context);
     }),
    other_field("tools", R"({"type": "array", "items": {"type": "object"}})",
     "list of tools: `name`, `description`, `input_schema`",
     [](Out& out, const Value& value, const Context& context) {
       out.tools = read_tools(value, context, {.type = "custom", .place = "", .parameters = "input_schema"});
     }),
    other_field("tool_choice", R"({"type": "object"})",
     "`type` (auto, any, tool with `name`, none) and `disable_parallel_tool_use`",
     [](Out& out, const Value& value, const Context&) { anthropic::read_tool_choice(out, value); }),
    object_field("thinking", kThinking, "whether the model thinks before it answers; default: no"),
    object_field("output_config", kOutputConfig, "more about the answer"),
    other_field("output_format", R"({"type": "object"})", "older name of output_config.format",
     [](Out& out, const Value& value, const Context& context) { anthropic::read_format(out, "output_format", value, context); }),
    {"stream", kBool, "answers with an event stream",
     [](Out& out, const Value& value, const Context&) { out.stream = value.get_bool(); }},
    {"mcp_servers", kRefused, "tools that the server calls itself"},
    {"container", kRefused, "tools that the server runs itself"},
    {"metadata", kIgnored, "the caller's own notes"},
    {"cache_control", kIgnored, "every prompt is looked up in the cache"},
    {"context_management", kIgnored, "nothing is removed from a conversation: one that is too long is refused"},
    {"service_tier", kIgnored, "there is one tier"},
});
// clang-format on

constexpr auto kMessagesFields =
    join(kModelField, kMessagesOwn, pick(kSamplingFields, {"temperature", "top_p", "top_k"}));

}  // namespace
}  // namespace fields

constinit const Api kMessagesApi{.name = "messages",
                                 .schema = "MessagesRequest",
                                 .fields = fields::kMessagesFields,
                                 .required = "messages",
                                 .check = fields::check_conversation};

}  // namespace quire
