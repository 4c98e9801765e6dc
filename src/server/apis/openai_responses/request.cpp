#include "server/apis/apis.h"
#include "server/apis/openai_responses/items.h"
#include "server/apis/shared_fields.h"

namespace quire {
namespace fields {
namespace {

// clang-format off
constexpr auto kReasoning = std::to_array<Field>({
    {"effort", kString, "given to the chat template as reasoning_effort; `none` also sets enable_thinking false",
     [](Out& out, const Value& value, const Context&) {
       out.reasoning_effort = text(value);
       out.template_variables["reasoning_effort"] = value;
       if (value == "none") out.template_variables["enable_thinking"] = false;
     },
     1, 64},
    {"summary", kString, "accepted: reasoning comes whole, never as a summary"},
});

constexpr auto kText = std::to_array<Field>({
    other_field("format", R"({"type": "object"})",
     "`type` (text, json_object, or json_schema with `schema`): the form of the answer",
     [](Out& out, const Value& value, const Context& context) { responses::read_format(out, value, context); }),
    {"verbosity", kString, "accepted: there is no such control"},
});

// `instructions` before `input`: in this order they make the conversation.
constexpr auto kResponsesOwn = std::to_array<Field>({
    {"instructions", kString, "a system prompt; that of an earlier response is not taken over",
     [](Out& out, const Value& value, const Context&) { responses::read_instructions(out, value); }},
    other_field("input", R"({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "object"}}]})",
     "a string, or list of items: message (`role`, `content`), function_call, function_call_output, reasoning",
     [](Out& out, const Value& value, const Context& context) { responses::read_input(out, value, context); }),
    {"previous_response_id", kString, "continues the conversation of a stored response",
     [](Out& out, const Value& value, const Context&) {
       out.previous_response_id = text(value);
       out.echoed["previous_response_id"] = value;
     },
     1, 512},
    {"store", kBool, "keeps the answer for previous_response_id and GET; default true",
     [](Out& out, const Value& value, const Context&) { out.store = value.get_bool(); }},
    {"max_output_tokens", kInteger, "most tokens to generate; absent: no limit but the context",
     [](Out& out, const Value& value, const Context&) {
       out.max_tokens = integer(value);
       out.echoed["max_output_tokens"] = integer(value);
     },
     1, kInt32Max},
    other_field("tools", R"({"type": "array", "items": {"type": "object"}})",
     "list of functions: `type` (`function`), `name`, `description`, `parameters`, `strict`",
     [](Out& out, const Value& value, const Context& context) { responses::read_tools(out, value, context); }),
    other_field("tool_choice", R"({"anyOf": [{"enum": ["none", "auto", "required"]}, {"type": "object"}]})",
     "`none`, `auto`, `required`, or an object with `type` (`function`) and `name`",
     [](Out& out, const Value& value, const Context&) {
       read_tool_choice(out, value);
       out.echoed["tool_choice"] = value;
     }),
    {"parallel_tool_calls", kBool, "whether one answer may call several functions; default true",
     [](Out& out, const Value& value, const Context&) { out.parallel_tool_calls = value.get_bool(); }},
    object_field("text", kText, "the form of the answer"),
    object_field("reasoning", kReasoning, "how the model thinks",
     [](Out& out, const Value& value, const Context&) { out.echoed["reasoning"] = value; }),
    {"top_logprobs", kInteger, "reports log probabilities of that many of the likeliest tokens, too",
     [](Out& out, const Value& value, const Context&) {
       out.top_logprobs = small(value);
       out.logprobs = out.logprobs || integer(value) > 0;
     },
     0, 0, false, &Limits::top_logprobs},
    other_field("include", R"({"type": "array", "items": {"type": "string"}})",
     "list; `message.output_text.logprobs` reports each token's log probability, others have no effect",
     [](Out& out, const Value& value, const Context&) { responses::read_include(out, value); }),
    other_field("truncation", R"({"enum": ["auto", "disabled"]})",
     "`disabled` (default): a conversation that is too long is refused; `auto`: its oldest turns are left out, system messages stay",
     [](Out& out, const Value& value, const Context&) {
       if (value != "auto" && value != "disabled") refuse_value("truncation", "one of auto, disabled", value);
       out.drops_old_turns = value == "auto";
       out.echoed["truncation"] = value;
     }),
    other_field("metadata", R"({"type": "object"})", "the caller's own notes, repeated in the answer",
     [](Out& out, const Value& value, const Context&) {
       if (!value.is_object()) refuse_value("metadata", "an object", value);
       out.echoed["metadata"] = value;
     }),
    {"stream", kBool, "answers with an event stream",
     [](Out& out, const Value& value, const Context&) { out.stream = value.get_bool(); }},
    {"background", kRefused, "answers that are fetched later"},
    {"conversation", kRefused, "conversations that the server keeps; see previous_response_id"},
    {"prompt", kRefused, "prompts that the server keeps"},
    {"stream_options", kIgnored, "events are not padded"},
    {"max_tool_calls", kIgnored, "the server calls no tools itself"},
    {"service_tier", kIgnored, "there is one tier"},
    {"safety_identifier", kIgnored, "the caller's own name of a user"},
    {"prompt_cache_key", kIgnored, "every prompt is looked up in the cache"},
    {"prompt_cache_retention", kIgnored, "cached prompts stay until their memory is needed"},
});
// clang-format on

constexpr auto kResponsesFields =
    join(kModelField, kResponsesOwn, pick(kConversationFields, {"chat_template_kwargs"}),
         pick(kSamplingFields, {"temperature", "top_p", "top_k", "min_p", "seed", "logit_bias"}), kServingFields,
         kUserField);

}  // namespace
}  // namespace fields

constinit const Api kResponsesApi{.name = "responses",
                                  .schema = "ResponsesRequest",
                                  .fields = fields::kResponsesFields,
                                  .required = "input",
                                  .check = fields::check_conversation};

}  // namespace quire
