#include "server/schema/fields.h"

#include <limits>

#include "server/schema/field_error.h"
#include "server/schema/prompt_fields.h"

namespace quire {
namespace {

constexpr uint8_t kGenerate = kChat | kCompletions;
constexpr uint8_t kPrompted = kGenerate | kEmbeddings | kTokenize;
constexpr double kInt32Max = std::numeric_limits<int32_t>::max();
constexpr double kAnyInteger = 9.3e18;

using Out = ApiRequest;
using Value = json::value;
using Context = ParseContext;

int64_t integer(const Value& value) {
  return value.is_int64() ? value.get_int64() : static_cast<int64_t>(value.get_double());
}
int small(const Value& value) { return static_cast<int>(integer(value)); }
float real(const Value& value) { return static_cast<float>(value.to_number<double>()); }
std::string text(const Value& value) { return std::string(value.get_string()); }

// Any other value than the named one would need something that this server lacks.
template <typename Allowed>
void allow_only(std::string_view path, const Value& value, Allowed is_allowed, std::string_view allowed) {
  if (!is_allowed(value)) {
    refuse_unsupported(std::string(path),
                       fmt::format("'{}' is {}: this server knows only {}", path, describe_value(value), allowed));
  }
}

constexpr FieldType kBool = FieldType::kBool;
constexpr FieldType kInteger = FieldType::kInteger;
constexpr FieldType kNumber = FieldType::kNumber;
constexpr FieldType kString = FieldType::kString;
constexpr FieldType kOther = FieldType::kOther;
constexpr FieldType kIgnored = FieldType::kIgnored;
constexpr FieldType kRefused = FieldType::kRefused;

// clang-format off
const Field kFields[] = {
    {"model", kPrompted | kDetokenize, kString, "the loaded model's id; absent: that model",
     [](Out& out, const Value& value, const Context&) { out.model = text(value); }},

    // The prompt.
    {"messages", kChat | kTokenize, kOther,
     "list of messages: `role` (system, developer, user, assistant, tool) and `content` (string, null, or text parts); "
     "other members go to the chat template",
     [](Out& out, const Value& value, const Context& context) { out.messages = read_messages(value, context); }},
    {"prompt", kCompletions, kOther, "string, list of strings, list of token ids, or list of such lists",
     [](Out& out, const Value& value, const Context& context) { out.prompts = read_prompts("prompt", value, context); }},
    {"prompt", kTokenize, kOther, "string",
     [](Out& out, const Value& value, const Context& context) {
       if (!value.is_string()) refuse_value("prompt", "a string", value);
       out.prompts = read_prompts("prompt", value, context);
     }},
    {"input", kEmbeddings, kOther, "string, list of strings, list of token ids, or list of such lists",
     [](Out& out, const Value& value, const Context& context) { out.prompts = read_prompts("input", value, context); }},
    {"content", kTokenize, kString, "the text; the answer has llama-server's form",
     [](Out& out, const Value& value, const Context&) { out.content = text(value); }},
    {"tokens", kDetokenize, kOther, "list of token ids",
     [](Out& out, const Value& value, const Context& context) {
       out.tokens = read_token_ids("tokens", value, context, std::numeric_limits<int32_t>::max());
     }},
    {"suffix", kCompletions, kRefused, "text after the completion"},
    {"prompt_embeds", kGenerate, kRefused, "embeddings instead of tokens"},
    {"add_generation_prompt", kChat | kTokenize, kBool, "ends the prompt with the start of the assistant's turn; default true",
     [](Out& out, const Value& value, const Context&) { out.add_generation_prompt = value.get_bool(); }},
    {"continue_final_message", kChat | kTokenize, kBool,
     "leaves the last message open, so that the answer continues it; needs add_generation_prompt false",
     [](Out& out, const Value& value, const Context&) { out.continue_final_message = value.get_bool(); }},
    {"add_special", kTokenize, kBool, "llama-server's name of add_special_tokens",
     [](Out& out, const Value& value, const Context&) { out.add_special_tokens = value.get_bool(); }},
    {"add_special_tokens", kPrompted, kBool,
     "adds the tokenizer's begin and end tokens; default true for plain text, false for messages and `content`",
     [](Out& out, const Value& value, const Context&) { out.add_special_tokens = value.get_bool(); }},
    {"parse_special", kPrompted, kBool,
     "reads names of special tokens in the text as those tokens; default true, but false for messages, where only the "
     "chat template writes such tokens",
     [](Out& out, const Value& value, const Context&) { out.parse_special = value.get_bool(); }},
    {"reasoning_effort", kChat | kTokenize, kString, "passed to the chat template under this name",
     [](Out& out, const Value& value, const Context&) { out.template_variables["reasoning_effort"] = value; },
     1, 64},
    {"documents", kChat | kTokenize, kOther, "list of documents, passed to the chat template under this name",
     [](Out& out, const Value& value, const Context&) {
       if (!value.is_array()) refuse_value("documents", "a list", value);
       out.template_variables["documents"] = value;
     }},
    {"chat_template_kwargs", kChat | kTokenize, kOther, "object of more variables for the chat template",
     [](Out& out, const Value& value, const Context&) { read_template_variables(out, value); }},
    {"chat_template", kChat | kTokenize, kString, "replaces the model's chat template; only where the operator allows it (403)",
     [](Out& out, const Value& value, const Context& context) {
       if (!context.allow_request_templates) {
         throw ApiError(403, "permission_error", "request_template_not_allowed",
                        "'chat_template' is not allowed by this server; the operator can allow it with "
                        "--allow-request-templates", "chat_template");
       }
       out.chat_template = text(value);
     },
     1, 1 << 20},
    {"truncate_prompt_tokens", kGenerate | kEmbeddings, kInteger,
     "keeps only this many of the prompt's last tokens, -1: as many as fit; the answer then says `\"truncated\": true`. "
     "Without it a prompt that is too long is refused",
     [](Out& out, const Value& value, const Context&) {
       if (integer(value) == 0) refuse_value("truncate_prompt_tokens", "-1, or an integer above 0", value);
       out.truncate_prompt_tokens = integer(value);
     },
     -1, kInt32Max},

    // Length and stopping.
    {"n_predict", kGenerate, kInteger, "llama-server's name of max_tokens; -1: no limit but the context",
     [](Out& out, const Value& value, const Context&) { out.max_tokens = integer(value); }, -1, kInt32Max},
    {"max_tokens", kChat, kInteger, "most tokens to generate; default: the room left in the context",
     [](Out& out, const Value& value, const Context&) { out.max_tokens = integer(value); }, 1, kInt32Max},
    {"max_tokens", kCompletions, kInteger, "most tokens to generate; default 16",
     [](Out& out, const Value& value, const Context&) { out.max_tokens = integer(value); }, 0, kInt32Max},
    {"max_completion_tokens", kGenerate, kInteger, "newer name of max_tokens; if both are given, this one counts",
     [](Out& out, const Value& value, const Context&) { out.max_tokens = integer(value); }, 1, kInt32Max},
    {"min_tokens", kGenerate, kInteger, "neither an end-of-generation token nor a stop string ends the text before this many tokens",
     [](Out& out, const Value& value, const Context&) { out.sampling.min_tokens = small(value); }, 0, 1 << 30},
    {"stop", kGenerate, kOther, "string or list of strings that end the text; not part of it",
     [](Out& out, const Value& value, const Context& context) { out.stop = read_stop(value, context); }},
    {"stop_token_ids", kGenerate, kOther, "list of token ids that end the text",
     [](Out& out, const Value& value, const Context& context) {
       out.stop_token_ids =
           read_token_ids("stop_token_ids", value, context, static_cast<size_t>(context.limits.stop_token_ids));
     }},
    {"ignore_eos", kGenerate, kBool, "the model's end-of-generation tokens do not end the text",
     [](Out& out, const Value& value, const Context&) { out.ignore_eos = value.get_bool(); }},
    {"include_stop_str_in_output", kGenerate, kBool, "keeps the stop string in the text",
     [](Out& out, const Value& value, const Context&) { out.include_stop = value.get_bool(); }},

    // Sampling.
    {"temperature", kGenerate, kNumber, "0: always the likeliest token",
     [](Out& out, const Value& value, const Context&) { out.sampling.temperature = real(value); }, 0, 100},
    {"top_p", kGenerate, kNumber, "keeps the likeliest tokens of this mass",
     [](Out& out, const Value& value, const Context&) { out.sampling.top_p = real(value); }, 0, 1, true},
    {"top_k", kGenerate, kInteger, "keeps the k likeliest tokens; 0 or -1: all",
     [](Out& out, const Value& value, const Context&) { out.sampling.top_k = small(value); }, -1, 1 << 30},
    {"min_p", kGenerate, kNumber, "keeps tokens of at least this share of the likeliest one's probability",
     [](Out& out, const Value& value, const Context&) { out.sampling.min_p = real(value); }, 0, 1},
    {"typical_p", kGenerate, kNumber, "keeps the most typical tokens of this mass",
     [](Out& out, const Value& value, const Context&) { out.sampling.typical_p = real(value); }, 0, 1, true},
    {"repeat_penalty", kGenerate, kNumber, "llama-server's name of repetition_penalty",
     [](Out& out, const Value& value, const Context&) { out.sampling.repetition_penalty = real(value); }, 0, 10, true},
    {"repetition_penalty", kGenerate, kNumber, "makes tokens of the prompt and the answer less likely; 1: off",
     [](Out& out, const Value& value, const Context&) { out.sampling.repetition_penalty = real(value); }, 0, 10, true},
    {"presence_penalty", kGenerate, kNumber, "subtracted once from every token of the answer",
     [](Out& out, const Value& value, const Context&) { out.sampling.presence_penalty = real(value); }, -2, 2},
    {"frequency_penalty", kGenerate, kNumber, "subtracted for each time a token is in the answer",
     [](Out& out, const Value& value, const Context&) { out.sampling.frequency_penalty = real(value); }, -2, 2},
    {"logit_bias", kGenerate, kOther, "object of token id (a string): number from -100 to 100, added to its logit",
     [](Out& out, const Value& value, const Context& context) { out.sampling.logit_bias = read_logit_bias(value, context); }},
    {"seed", kGenerate, kInteger, "makes the answer repeatable",
     [](Out& out, const Value& value, const Context&) { out.sampling.seed = static_cast<uint64_t>(integer(value)); },
     -kAnyInteger, kAnyInteger},
    {"n", kGenerate, kInteger, "choices for each prompt",
     [](Out& out, const Value& value, const Context&) { out.num_choices = small(value); }, 1, 0, false, &Limits::choices},
    {"best_of", kGenerate, kInteger, "accepted when equal to n",
     [](Out& out, const Value& value, const Context&) { out.best_of = small(value); }, 1, 0, false, &Limits::choices},

    // Output.
    {"stream", kGenerate, kBool, "answers with an event stream",
     [](Out& out, const Value& value, const Context&) { out.stream = value.get_bool(); }},
    {"stream_options", kGenerate, kOther, "`include_usage`: a last chunk with usage; `continuous_usage_stats`: usage in every chunk",
     [](Out& out, const Value& value, const Context&) { read_stream_options(out, value); }},
    {"n_probs", kChat, kInteger, "llama-server's name of logprobs with top_logprobs",
     [](Out& out, const Value& value, const Context&) {
       out.logprobs = integer(value) > 0;
       if (out.logprobs) out.top_logprobs = small(value);
     },
     0, 0, false, &Limits::top_logprobs},
    {"n_probs", kCompletions, kInteger, "llama-server's name of logprobs",
     [](Out& out, const Value& value, const Context&) {
       out.logprobs = integer(value) > 0;
       if (out.logprobs) out.top_logprobs = small(value);
     },
     0, 0, false, &Limits::logprobs},
    {"logprobs", kChat, kBool, "reports each token's log probability",
     [](Out& out, const Value& value, const Context&) {
       out.logprobs = value.get_bool();
       if (!out.logprobs) out.top_logprobs.reset();
     }},
    {"top_logprobs", kChat, kInteger, "reports log probabilities of that many of the likeliest tokens, too",
     [](Out& out, const Value& value, const Context&) {
       if (integer(value) > 0 || out.logprobs) out.top_logprobs = small(value);
     },
     0, 0, false, &Limits::top_logprobs},
    {"logprobs", kCompletions, kInteger, "reports log probabilities: each token's and those of that many of the likeliest",
     [](Out& out, const Value& value, const Context&) {
       out.logprobs = true;
       out.top_logprobs = small(value);
     },
     0, 0, false, &Limits::logprobs},
    {"echo", kCompletions, kBool, "puts the prompt before the completion, with log probabilities when these are asked for",
     [](Out& out, const Value& value, const Context&) { out.echo = value.get_bool(); }},
    {"prompt_logprobs", kGenerate, kInteger, "reports the prompt's log probabilities with that many alternatives; not in a stream",
     [](Out& out, const Value& value, const Context&) { out.prompt_logprobs = small(value); },
     0, 0, false, &Limits::logprobs},
    {"return_token_ids", kGenerate, kBool, "adds `token_ids` and `prompt_token_ids`",
     [](Out& out, const Value& value, const Context&) { out.return_token_ids = value.get_bool(); }},
    {"return_tokens_as_token_ids", kGenerate, kBool, "writes tokens in log probabilities as `token_id:123`",
     [](Out& out, const Value& value, const Context&) { out.tokens_as_ids = value.get_bool(); }},
    {"skip_special_tokens", kGenerate, kBool, "leaves special tokens out of the text; default true",
     [](Out& out, const Value& value, const Context&) { out.skip_special_tokens = value.get_bool(); }},
    {"quire_timings", kGenerate, kBool, "adds `timings`: ttft_ms, decode_ms, queue_ms, tokens_per_second, cached_tokens",
     [](Out& out, const Value& value, const Context&) { out.timings = value.get_bool(); }},
    {"return_token_strs", kTokenize, kBool, "adds `token_strs`",
     [](Out& out, const Value& value, const Context&) { out.return_token_strings = value.get_bool(); }},
    {"with_pieces", kTokenize, kBool, "with `content`: tokens as objects of id and piece",
     [](Out& out, const Value& value, const Context&) { out.with_pieces = value.get_bool(); }},
    {"encoding_format", kEmbeddings, kOther, "`float` (default) or `base64` (little-endian float32)",
     [](Out& out, const Value& value, const Context&) {
       const bool is_base64 = value.is_string() && value.get_string() == "base64";
       if (!is_base64 && (!value.is_string() || value.get_string() != "float")) {
         refuse_value("encoding_format", "\"float\" or \"base64\"", value);
       }
       out.base64 = is_base64;
     }},
    {"dimensions", kEmbeddings, kInteger, "keeps that many of the first numbers and scales them to length 1 again",
     [](Out& out, const Value& value, const Context&) { out.dimensions = small(value); }, 1, 1 << 20},

    // Scheduling and caching.
    {"priority", kGenerate | kEmbeddings, kInteger, "lower runs earlier, if the server schedules by priority",
     [](Out& out, const Value& value, const Context&) { out.priority = static_cast<int32_t>(integer(value)); },
     -kInt32Max, kInt32Max},
    {"timeout", kGenerate | kEmbeddings, kNumber, "seconds until the last token, after which the request ends with timeout_error; overrides the header x-request-timeout",
     [](Out& out, const Value& value, const Context&) { out.timeout_ms = value.to_number<double>() * 1000.0; },
     0, 86400, true},
    {"request_id", kGenerate | kEmbeddings, kString, "becomes part of the answer's id",
     [](Out& out, const Value& value, const Context&) { out.request_id = text(value); },
     1, 0, false, nullptr, &Limits::request_id_bytes},
    {"cache_salt", kGenerate | kEmbeddings, kString, "cached prompts are shared only between requests with the same salt",
     [](Out& out, const Value& value, const Context&) { out.cache_salt = text(value); },
     1, 0, false, nullptr, &Limits::cache_salt_bytes},
    {"cache_prompt", kGenerate, kBool, "false: no cached prefix is used; default true",
     [](Out& out, const Value& value, const Context&) { out.cache_prompt = value.get_bool(); }},
    {"response_format", kGenerate, kOther, "`{\"type\": \"text\"}`; other types are not supported",
     [](Out&, const Value& value, const Context&) { read_response_format(value); }},
    {"tools", kChat | kTokenize, kOther, "accepted with `\"tool_choice\": \"none\"`; calling tools is not supported",
     [](Out& out, const Value& value, const Context&) {
       if (!value.is_array()) refuse_value("tools", "a list", value);
       out.has_tools = !value.get_array().empty();
     }},
    {"tool_choice", kChat, kOther, "`none` or `auto`",
     [](Out& out, const Value& value, const Context&) { read_tool_choice(out, value); }},
    {"modalities", kChat, kOther, "`[\"text\"]`",
     [](Out&, const Value& value, const Context&) {
       allow_only("modalities", value, [](const Value& list) {
         return list.is_array() && (list.get_array().empty() || (list.get_array().size() == 1 && list.get_array()[0] == "text"));
       }, "[\"text\"]");
     }},

    // Would change the answer, and is not supported: refused when switched on.
    {"functions", kChat, kRefused, "an older form of tools"},
    {"function_call", kChat, kOther, "`none`",
     [](Out&, const Value& value, const Context&) {
       allow_only("function_call", value, [](const Value& choice) { return choice == "none"; }, "\"none\"");
     }},
    {"structured_outputs", kGenerate, kRefused, "answers of a given form"},
    {"guided_json", kGenerate, kRefused, "answers of a given form"},
    {"guided_regex", kGenerate, kRefused, "answers of a given form"},
    {"guided_choice", kGenerate, kRefused, "answers of a given form"},
    {"guided_grammar", kGenerate, kRefused, "answers of a given form"},
    {"grammar", kGenerate, kRefused, "answers of a given form"},
    {"json_schema", kGenerate, kRefused, "answers of a given form"},
    {"bad_words", kGenerate, kRefused, "words that must not occur"},
    {"allowed_token_ids", kGenerate, kRefused, "a smaller vocabulary"},
    {"logits_processors", kGenerate, kRefused, "code that changes logits"},
    {"logprob_token_ids", kGenerate, kRefused, "log probabilities of chosen tokens"},
    {"use_beam_search", kGenerate, kRefused, "beam search"},
    {"thinking_token_budget", kChat, kRefused, "a limit on reasoning tokens"},
    {"audio", kChat, kRefused, "spoken answers"},
    {"web_search_options", kChat, kRefused, "searching the web"},
    {"mirostat", kGenerate, kRefused, "mirostat sampling"},
    {"dry_multiplier", kGenerate, kRefused, "DRY sampling"},
    {"xtc_probability", kGenerate, kRefused, "XTC sampling"},

    // Accepted for the sake of clients that send them.
    {"user", kGenerate | kEmbeddings, kIgnored, "the caller's own name of a user"},
    {"metadata", kGenerate, kIgnored, "the caller's own notes"},
    {"store", kGenerate, kIgnored, "nothing is stored here"},
    {"service_tier", kGenerate, kIgnored, "there is one tier"},
    {"safety_identifier", kGenerate, kIgnored, "the caller's own name of a user"},
    {"prompt_cache_key", kGenerate, kIgnored, "every prompt is looked up in the cache"},
    {"prediction", kChat, kIgnored, "a hint for speed"},
    {"parallel_tool_calls", kChat, kIgnored, "no tools are called"},
    {"include_reasoning", kChat, kIgnored, "reasoning is not separated from the text"},
    {"verbosity", kChat, kIgnored, "there is no such control"},
    {"spaces_between_special_tokens", kGenerate, kIgnored, "the tokenizer's own spacing is used"},
    {"stream_interval", kGenerate, kIgnored, "every token is sent at once"},
    {"return_progress", kGenerate, kIgnored, "no progress events"},
    {"timings_per_token", kGenerate, kIgnored, "see quire_timings"},
};
// clang-format on

}  // namespace

std::span<const Field> request_fields() { return kFields; }

}  // namespace quire
