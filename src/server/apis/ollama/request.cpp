#include "server/apis/apis.h"
#include "server/apis/shared_fields.h"
#include "server/schema/grammar_fields.h"

namespace quire {
namespace fields {
namespace {

// Both say "no more than the context": -1 endlessly, -2 until the context is full.
constexpr double kLeastPredict = -2;

// What would have to be an image is refused, wherever it stands.
void refuse_images(const std::string& path, const Value& value) {
  if (value.is_null() || (value.is_array() && value.get_array().empty())) return;
  refuse_unsupported(path, fmt::format("'{}' is not supported by this server: its models read text only", path));
}

// Ollama's messages have members that OpenAI's call otherwise.
json::array read_ollama_messages(const Value& value, const Context& context) {
  // An empty list asks for the model to be loaded.
  if (value.is_array() && value.get_array().empty()) return {};
  json::array messages = read_messages(value, context);
  const auto rename = [](json::object& message, std::string_view from, std::string_view to) {
    if (const Value* const member = find_member(message, from)) {
      const Value moved = *member;
      message[to] = moved;
      message.erase(from);
    }
  };
  for (size_t i = 0; i < messages.size(); ++i) {
    json::object& message = messages[i].get_object();
    if (const Value* const images = message.if_contains("images"))
      refuse_images(at(at("messages", i), "images"), *images);
    message.erase("images");
    rename(message, "thinking", "reasoning_content");
    rename(message, "tool_name", "name");
  }
  return messages;
}

// How long the model stays in memory. Served models stay; 0 alone has a meaning, in a request without a prompt.
void read_keep_alive(Out& out, const Value& value) {
  if (!value.is_number() && !value.is_string()) {
    refuse_value("keep_alive", "seconds, or a time such as \"5m\"", value);
  }
  out.unloads = value.is_number() ? value.to_number<double>() == 0.0 : value.get_string() == "0";
}

void read_format(Out& out, const Value& value, const Context& context) {
  if (value == "") return;
  if (value == "json") return set_grammar(out, "format", GrammarKind::kJsonObject, "");
  if (!value.is_object()) refuse_value("format", "\"json\" or a JSON Schema", value);
  read_schema(out, "format", value, context);
}

void read_think(Out& out, const Value& value) {
  if (value.is_bool()) {
    out.template_variables["enable_thinking"] = value.get_bool();
    return;
  }
  const bool is_effort = value == "low" || value == "medium" || value == "high";
  if (!is_effort) refuse_value("think", "true, false, \"low\", \"medium\" or \"high\"", value);
  out.template_variables["enable_thinking"] = true;
  out.template_variables["reasoning_effort"] = value;
}

// clang-format off
constexpr auto kOptionsOwn = std::to_array<Field>({
    {"num_predict", kInteger, "most tokens to generate; 0 and below: no limit but the context",
     [](Out& out, const Value& value, const Context&) { out.max_tokens = integer(value) > 0 ? integer(value) : -1; },
     kLeastPredict, kInt32Max},
    {"num_ctx", kInteger, "of /api/chat: the oldest turns are left out of a conversation that has more tokens, as long as `truncate` is true; 0 or absent: the model's whole context counts",
     [](Out& out, const Value& value, const Context&) {
       if (integer(value) > 0) out.max_context = integer(value);
     },
     0, kInt32Max},
    other_field("stop", R"({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]})", "string or list of strings that end the text",
     [](Out& out, const Value& value, const Context& context) { out.stop = read_stop("options.stop", value, context); }),
});

constexpr auto kOptions = join(kOptionsOwn, take(kSamplingFields, {"temperature", "top_p", "top_k", "min_p", "typical_p",
                                                                   "repeat_penalty", "presence_penalty",
                                                                   "frequency_penalty", "mirostat", "mirostat_tau",
                                                                   "mirostat_eta", "seed"}));

constexpr auto kGenerationOwn = std::to_array<Field>({
    {"stream", kBool, "answers with a line of JSON for each piece; default true",
     [](Out& out, const Value& value, const Context&) { out.stream = value.get_bool(); }},
    object_field("options", kOptions, "how to choose tokens and when to stop"),
    other_field("think", R"({"anyOf": [{"type": "boolean"}, {"enum": ["low", "medium", "high"]}]})", "whether the model thinks before it answers, and how much; passed to the chat template as enable_thinking and reasoning_effort",
     [](Out& out, const Value& value, const Context&) { read_think(out, value); }),
    other_field("keep_alive", R"({"anyOf": [{"type": "number"}, {"type": "string"}]})", "without effect: a served model stays in memory",
     [](Out& out, const Value& value, const Context&) { read_keep_alive(out, value); }),
    other_field("format", R"({"anyOf": [{"enum": ["json", ""]}, {"type": "object"}]})", "the form of the answer: `json` (any object), or a JSON Schema",
     [](Out& out, const Value& value, const Context& context) { read_format(out, value, context); }),
    {"logprobs", kRefused, "log probabilities; /v1/chat/completions has them"},
    {"top_logprobs", kRefused, "log probabilities; /v1/chat/completions has them"},
    {"shift", kIgnored, "nothing is cut: an answer ends where the context ends"},
});

constexpr auto kChatOwn = std::to_array<Field>({
    other_field("messages", R"({"type": "array", "items": {"$ref": "#/components/schemas/Message"}})",
     "list of messages: `role`, `content` (a string), `thinking`, `tool_calls`, `tool_name`; empty: the model is loaded, and nothing else happens",
     [](Out& out, const Value& value, const Context& context) {
       out.messages = read_ollama_messages(value, context);
       out.drops_old_turns = true;
     }),
    {"truncate", kBool, "false: a conversation that is too long is refused; true, the default: its oldest turns are left out, system messages stay",
     [](Out& out, const Value& value, const Context&) { out.drops_old_turns = value.get_bool(); }},
});

constexpr auto kGenerateOwn = std::to_array<Field>({
    {"prompt", kString, "the text; without it the model is loaded, and nothing else happens",
     [](Out& out, const Value& value, const Context&) {
       if (!value.get_string().empty()) out.prompts = {{.text = text(value), .ids = {}, .is_text = true}};
     }},
    {"suffix", kString, "text after the answer, which then goes between the two; needs a model with tokens for that",
     [](Out& out, const Value& value, const Context&) {
       if (!value.get_string().empty()) out.suffix = text(value);
     }},
    {"system", kString, "the system message",
     [](Out& out, const Value& value, const Context&) { out.system = text(value); }},
    {"raw", kBool, "the prompt is not put into the model's chat template",
     [](Out& out, const Value& value, const Context&) { out.is_raw = value.get_bool(); }},
    {"truncate", kIgnored, "nothing is cut: a prompt that is too long is refused"},
    {"template", kRefused, "another prompt template; give `raw` and a prompt in its form"},
    {"context", kRefused, "the tokens of earlier answers; /api/chat continues a conversation"},
    {"images", kRefused, "images"},
});

constexpr auto kInputField = std::to_array<Field>({
    other_field("input", R"({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]})", "a text or a list of texts",
     [](Out& out, const Value& value, const Context& context) {
       if (value.is_array() && value.get_array().empty()) return;
       out.prompts = read_prompts("input", value, context);
     }),
});

constexpr auto kEmbedOwn = std::to_array<Field>({
    {"truncate", kIgnored, "nothing is cut: a text that is too long is refused"},
    {"dimensions", kInteger, "keeps that many of the first numbers and scales them to length 1 again",
     [](Out& out, const Value& value, const Context&) { out.dimensions = small(value); }, 1, 1 << 20},
});

constexpr auto kOldEmbedOwn = std::to_array<Field>({
    {"prompt", kString, "the text",
     [](Out& out, const Value& value, const Context&) { out.prompts = {{.text = text(value), .ids = {}, .is_text = true}}; }},
});

constexpr auto kEmbedIgnored = std::to_array<Field>({
    {"options", kIgnored, "nothing is sampled"},
    {"keep_alive", kIgnored, "a served model stays in memory"},
});

constexpr auto kNameOwn = std::to_array<Field>({
    {"name", kString, "older name of model",
     [](Out& out, const Value& value, const Context&) { out.model = text(value); }},
    {"stream", kBool, "answers with lines of JSON; default true",
     [](Out& out, const Value& value, const Context&) { out.stream = value.get_bool(); }},
    {"verbose", kIgnored, "everything is shown"},
});
// clang-format on

constexpr auto kChatFields = join(kModelField, kChatOwn, take(kConversationFields, {"tools"}), kGenerationOwn);
constexpr auto kGenerateFields = join(kModelField, kGenerateOwn, kGenerationOwn);
constexpr auto kEmbedFields = join(kModelField, kInputField, kEmbedOwn, kEmbedIgnored);
constexpr auto kOldEmbedFields = join(kModelField, kOldEmbedOwn, kEmbedIgnored);
constexpr auto kNameFields = join(kNameOwn, kModelField);

}  // namespace
}  // namespace fields

constinit const Api kOllamaChatApi{.name = "Ollama chat",
                                   .schema = "OllamaChatRequest",
                                   .fields = fields::kChatFields,
                                   .check = fields::check_conversation,
                                   .streams_by_default = true};
constinit const Api kOllamaGenerateApi{.name = "Ollama generate",
                                       .schema = "OllamaGenerateRequest",
                                       .fields = fields::kGenerateFields,
                                       .streams_by_default = true};
constinit const Api kOllamaEmbedApi{
    .name = "Ollama embed", .schema = "OllamaEmbedRequest", .fields = fields::kEmbedFields, .required = "input"};
constinit const Api kOllamaEmbeddingsApi{.name = "Ollama embeddings",
                                         .schema = "OllamaEmbeddingsRequest",
                                         .fields = fields::kOldEmbedFields,
                                         .required = "prompt"};
constinit const Api kOllamaModelApi{
    .name = "Ollama models", .schema = "OllamaModelRequest", .fields = fields::kNameFields, .streams_by_default = true};

}  // namespace quire
