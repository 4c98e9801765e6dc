// The fields that several APIs share, in groups; an API joins the groups that it has with fields of its own.
//
// Included by the request.cpp of each API only.
#pragma once

#include "dialogue/sampling_words.h"
#include "server/schema/field_values.h"
#include "server/schema/grammar_fields.h"
#include "server/schema/prompt_fields.h"

namespace quire::fields {

// clang-format off
inline constexpr auto kModelField = std::to_array<Field>({
    {"model", kString, "the loaded model's id; absent: that model",
     [](Out& out, const Value& value, const Context&) { out.model = text(value); }},
});

// Messages, and how the chat template makes a prompt of them.
inline constexpr auto kConversationFields = std::to_array<Field>({
    other_field("messages", R"({"type": "array", "minItems": 1, "items": {"$ref": "#/components/schemas/Message"}})",
     "list of messages: `role` (system, developer, user, assistant, tool) and `content` (string, null, or text parts); "
     "other members go to the chat template",
     [](Out& out, const Value& value, const Context& context) { out.messages = read_messages(value, context); }),
    {"add_generation_prompt", kBool, "ends the prompt with the start of the assistant's turn; default true",
     [](Out& out, const Value& value, const Context&) { out.add_generation_prompt = value.get_bool(); }},
    {"continue_final_message", kBool,
     "leaves the last message open, so that the answer continues it; needs add_generation_prompt false",
     [](Out& out, const Value& value, const Context&) { out.continue_final_message = value.get_bool(); }},
    {"reasoning_effort", kString, "passed to the chat template under this name; `none` also as enable_thinking false",
     [](Out& out, const Value& value, const Context&) {
       out.template_variables["reasoning_effort"] = value;
       if (value == "none") out.template_variables["enable_thinking"] = false;
     },
     1, 64},
    other_field("documents", R"({"type": "array", "items": {"type": "object"}})", "list of documents, passed to the chat template under this name",
     [](Out& out, const Value& value, const Context&) {
       if (!value.is_array()) refuse_value("documents", "a list", value);
       out.template_variables["documents"] = value;
     }),
    other_field("chat_template_kwargs", R"({"type": "object"})", "object of more variables for the chat template",
     [](Out& out, const Value& value, const Context&) { read_template_variables(out, value); }),
    {"chat_template", kString, "replaces the model's chat template; only where the operator allows it (403)",
     [](Out& out, const Value& value, const Context& context) {
       if (!context.allow_request_templates) {
         throw ApiError(403, "permission_error", "request_template_not_allowed",
                        "'chat_template' is not allowed by this server; the operator can allow it with "
                        "--allow-request-templates", "chat_template");
       }
       out.chat_template = text(value);
     },
     1, 1 << 20},
    other_field("tools", R"({"type": "array", "items": {"type": "object", "required": ["function"], "properties": {"type": {"const": "function"}, "function": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "description": {"type": "string"}, "parameters": {"type": "object"}, "strict": {"type": "boolean"}}}}}})",
     "list of tools that the model may call: `type` (`function`) and `function` (`name`, `description`, `parameters`: a JSON Schema, `strict`)",
     [](Out& out, const Value& value, const Context& context) { out.tools = read_tools(value, context); }),
});

inline constexpr auto kSpecialTokenFields = std::to_array<Field>({
    {"add_special_tokens", kBool,
     "adds the tokenizer's begin and end tokens; default true for plain text, false for messages and `content`",
     [](Out& out, const Value& value, const Context&) { out.add_special_tokens = value.get_bool(); }},
    {"parse_special", kBool,
     "reads names of special tokens in the text as those tokens; default true, but false for messages, where only the "
     "chat template writes such tokens",
     [](Out& out, const Value& value, const Context&) { out.parse_special = value.get_bool(); }},
});

inline constexpr auto kTruncateField = std::to_array<Field>({
    {"truncate_prompt_tokens", kInteger,
     "keeps only this many of the prompt's last tokens, -1: as many as fit; the answer then says `\"truncated\": true`. "
     "Without it a prompt that is too long is refused",
     [](Out& out, const Value& value, const Context&) {
       if (integer(value) == 0) refuse_value("truncate_prompt_tokens", "-1, or an integer above 0", value);
       out.truncate_prompt_tokens = integer(value);
     },
     -1, kInt32Max},
});

// Before max_tokens, which overrides it.
inline constexpr auto kLengthAlias = std::to_array<Field>({
    {"n_predict", kInteger, "llama-server's name of max_tokens; -1: no limit but the context",
     [](Out& out, const Value& value, const Context&) { out.max_tokens = integer(value); }, -1, kInt32Max},
});

inline constexpr auto kStoppingFields = std::to_array<Field>({
    {"max_completion_tokens", kInteger, "newer name of max_tokens; if both are given, this one counts",
     [](Out& out, const Value& value, const Context&) { store_max_tokens("max_completion_tokens", 1, out, value); },
     -1, kInt32Max},
    {"min_tokens", kInteger, "neither an end-of-generation token nor a stop string ends the text before this many tokens",
     [](Out& out, const Value& value, const Context&) { out.sampling.min_tokens = small(value); }, 0, 1 << 30},
    other_field("stop", R"({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]})", "string or list of strings that end the text; not part of it",
     [](Out& out, const Value& value, const Context& context) { out.stop = read_stop("stop", value, context); }),
    other_field("stop_token_ids", kIdsShape, "list of token ids that end the text",
     [](Out& out, const Value& value, const Context& context) {
       out.stop_token_ids =
           read_token_ids("stop_token_ids", value, context, static_cast<size_t>(context.limits.stop_token_ids));
     }),
    {"ignore_eos", kBool, "the model's end-of-generation tokens do not end the text",
     [](Out& out, const Value& value, const Context&) { out.ignore_eos = value.get_bool(); }},
    {"include_stop_str_in_output", kBool, "keeps the stop string in the text",
     [](Out& out, const Value& value, const Context&) { out.include_stop = value.get_bool(); }},
});

inline constexpr auto kSamplingFields = std::to_array<Field>({
    {"temperature", kNumber, "0: always the likeliest token",
     [](Out& out, const Value& value, const Context&) { out.sampling.temperature = real(value); }, 0, 100},
    {"top_p", kNumber, "keeps the likeliest tokens of this mass; 0: the likeliest token alone",
     [](Out& out, const Value& value, const Context&) {
       if (real(value) > 0.0f) {
         out.sampling.top_p = real(value);
       } else {
         out.sampling.temperature = 0.0f;
       }
     },
     0, 1},
    {"top_k", kInteger, "keeps the k likeliest tokens; 0 or -1: all",
     [](Out& out, const Value& value, const Context&) { out.sampling.top_k = small(value); }, -1, 1 << 30},
    {"min_p", kNumber, "keeps tokens of at least this share of the likeliest one's probability",
     [](Out& out, const Value& value, const Context&) { out.sampling.min_p = real(value); }, 0, 1},
    {"typical_p", kNumber, "keeps the most typical tokens of this mass; 0: the most typical one alone",
     [](Out& out, const Value& value, const Context&) {
       // One token is kept however small the mass.
       out.sampling.typical_p = std::max(real(value), std::numeric_limits<float>::min());
     },
     0, 1},
    {"repeat_penalty", kNumber, "llama-server's name of repetition_penalty",
     [](Out& out, const Value& value, const Context&) { out.sampling.repetition_penalty = real(value); }, 0, 10, true},
    {"repetition_penalty", kNumber, "makes tokens of the prompt and the answer less likely; 1: off",
     [](Out& out, const Value& value, const Context&) { out.sampling.repetition_penalty = real(value); }, 0, 10, true},
    {"presence_penalty", kNumber, "subtracted once from every token of the answer",
     [](Out& out, const Value& value, const Context&) { out.sampling.presence_penalty = real(value); }, -2, 2},
    {"frequency_penalty", kNumber, "subtracted for each time a token is in the answer",
     [](Out& out, const Value& value, const Context&) { out.sampling.frequency_penalty = real(value); }, -2, 2},
    other_field("logit_bias", R"({"type": "object", "additionalProperties": {"type": "number", "minimum": -100, "maximum": 100}})", "object of token id (a string): number from -100 to 100, added to its logit",
     [](Out& out, const Value& value, const Context& context) { out.sampling.logit_bias = read_logit_bias(value, context); }),
    other_field("bad_words", kStringsShape, "list of strings that the answer must not contain, as the tokenizer writes them, with and without a space before",
     [](Out& out, const Value& value, const Context& context) {
       out.bad_words = read_strings("bad_words", value, static_cast<size_t>(context.limits.bad_words),
                                    context.limits.bad_word_bytes);
     }),
    other_field("allowed_token_ids", kIdsShape, "list of the only token ids that the answer may have; its end is not possible unless it is among them",
     [](Out& out, const Value& value, const Context& context) { out.sampling.allowed_token_ids = read_allowed_tokens(value, context); }),
    {"dry_multiplier", kNumber, "DRY: scales what is subtracted from a token that would lengthen a repetition; 0: off",
     [](Out& out, const Value& value, const Context&) { out.sampling.dry.multiplier = real(value); }, 0, 100},
    {"dry_base", kNumber, "the factor by which that grows with each token of the repetition",
     [](Out& out, const Value& value, const Context&) { out.sampling.dry.base = real(value); }, 1, 100},
    {"dry_allowed_length", kInteger, "tokens of a repetition that cost nothing",
     [](Out& out, const Value& value, const Context&) { out.sampling.dry.allowed_length = small(value); }, 0, 1 << 30},
    {"dry_penalty_last_n", kInteger, "how many of the last tokens of prompt and answer DRY looks at; -1: all, 0: none",
     [](Out& out, const Value& value, const Context&) { out.sampling.dry.penalty_last_n = small(value); }, -1, 1 << 30},
    other_field("dry_sequence_breakers", kStringsShape, "list of strings over which a repetition does not reach",
     [](Out& out, const Value& value, const Context& context) {
       out.dry_breakers = read_strings("dry_sequence_breakers", value,
                                       static_cast<size_t>(context.limits.dry_sequence_breakers), kMaxDryBreakerBytes);
     }),
    {"top_n_sigma", kNumber, "keeps the tokens whose logits are within this many standard deviations of the greatest; 0 or -1: all",
     [](Out& out, const Value& value, const Context&) { out.sampling.top_n_sigma = real(value); }, -1, 100},
    {"dynatemp_range", kNumber, "the temperature is between temperature - range and temperature + range, by the entropy; 0: off",
     [](Out& out, const Value& value, const Context&) { out.sampling.dynatemp.range = real(value); }, 0, 100},
    {"dynatemp_exponent", kNumber, "the power of the entropy, as a share of the greatest one, that this temperature follows",
     [](Out& out, const Value& value, const Context&) { out.sampling.dynatemp.exponent = real(value); }, 0, 100},
    {"xtc_probability", kNumber, "XTC: how often the likeliest tokens are left out; 0: never",
     [](Out& out, const Value& value, const Context&) { out.sampling.xtc.probability = real(value); }, 0, 1},
    {"xtc_threshold", kNumber, "the probability from which on tokens are left out, but the least likely one of them",
     [](Out& out, const Value& value, const Context&) { out.sampling.xtc.threshold = real(value); }, 0, 1},
    {"mirostat", kInteger, "1 or 2: Mirostat of that version instead of top_k to xtc_probability; 0: off",
     [](Out& out, const Value& value, const Context&) { out.sampling.mirostat.version = small(value); }, 0, 2},
    {"mirostat_tau", kNumber, "the surprise of a token that Mirostat aims at, in bits",
     [](Out& out, const Value& value, const Context&) { out.sampling.mirostat.tau = real(value); }, 0, 100},
    {"mirostat_eta", kNumber, "how fast Mirostat follows the surprise",
     [](Out& out, const Value& value, const Context&) { out.sampling.mirostat.eta = real(value); }, 0, 10},
    {"seed", kInteger, "makes the answer repeatable; signed or unsigned, -1: none",
     [](Out& out, const Value& value, const Context&) {
       const uint64_t seed = any_bits(value);
       if (value.is_uint64() || integer(value) != -1) {
         out.sampling.seed = seed;
       } else {
         out.sampling.seed.reset();
       }
     },
     kInt64Min, kUint64Max},
    {"n", kInteger, "choices for each prompt",
     [](Out& out, const Value& value, const Context&) { out.num_choices = small(value); }, 1, 0, false, &Limits::choices},
    {"best_of", kInteger, "choices to make for each prompt, of which the n with the greatest log probability are returned; not in a stream; default n",
     [](Out& out, const Value& value, const Context&) {
       if (integer(value) > 0) out.best_of = small(value);
     },
     0, 0, false, &Limits::choices},
    {"use_beam_search", kBool, "beam search instead of sampling: returns the n best answers that it finds, at its end; no sampling field applies",
     [](Out& out, const Value& value, const Context&) { out.use_beam_search = value.get_bool(); }},
    {"beam_width", kInteger, "beams of a beam search, at least n; default n",
     [](Out& out, const Value& value, const Context&) { out.beam_width = small(value); }, 1, 0, false, &Limits::choices},
    {"length_penalty", kNumber, "of a beam search: the power of an answer's length that its log probability is divided by; default 1",
     [](Out& out, const Value& value, const Context&) { out.beam.length_penalty = real(value); }, -10, 10},
    {"early_stopping", kBool, "of a beam search: it ends when as many answers have ended as there are beams, not when none can become better",
     [](Out& out, const Value& value, const Context&) { out.beam.early_stopping = value.get_bool(); }},
});

inline constexpr auto kStreamOptions = std::to_array<Field>({
    {"include_usage", kBool, "a last chunk with usage",
     [](Out& out, const Value& value, const Context&) { out.include_usage = value.get_bool(); }},
    {"continuous_usage_stats", kBool, "usage in every chunk",
     [](Out& out, const Value& value, const Context&) { out.continuous_usage = value.get_bool(); }},
});

// JSON Schema of a JSON Schema, or of its text.
inline constexpr std::string_view kSchemaShape = R"({"anyOf": [{"type": "object"}, {"type": "boolean"}, {"type": "string"}]})";
inline constexpr std::string_view kChoiceShape = R"({"type": "array", "minItems": 1, "items": {"type": "string"}})";

// One of them, at most; those that say how come after those that say what.
inline constexpr auto kStructuredOutputs = std::to_array<Field>({
    other_field("json", kSchemaShape, "a JSON Schema, or its text",
     [](Out& out, const Value& value, const Context& context) { read_schema(out, "structured_outputs.json", value, context); }),
    {"regex", kString, "a regular expression of the whole answer",
     [](Out& out, const Value& value, const Context&) { read_grammar_text(out, "structured_outputs.regex", GrammarKind::kRegex, value); },
     0, 0, false, nullptr, &Limits::grammar_bytes},
    other_field("choice", kChoiceShape, "a list of strings, of which the answer is one",
     [](Out& out, const Value& value, const Context& context) { read_choice(out, "structured_outputs.choice", value, context); }),
    {"grammar", kString, "a grammar in GBNF or EBNF",
     [](Out& out, const Value& value, const Context&) { read_grammar_text(out, "structured_outputs.grammar", GrammarKind::kGbnf, value); },
     0, 0, false, nullptr, &Limits::grammar_bytes},
    {"structural_tag", kString, "the text of a structural tag",
     [](Out& out, const Value& value, const Context&) { read_grammar_text(out, "structured_outputs.structural_tag", GrammarKind::kStructuralTag, value); },
     0, 0, false, nullptr, &Limits::grammar_bytes},
    {"json_object", kBool, "any JSON object",
     [](Out& out, const Value& value, const Context&) {
       if (value.get_bool()) set_grammar(out, "structured_outputs.json_object", GrammarKind::kJsonObject, "");
     }},
    {"disable_any_whitespace", kBool, "JSON as json.dumps writes it",
     [](Out& out, const Value& value, const Context&) { read_any_whitespace(out, !value.get_bool()); }},
    {"any_property_order", kBool, "properties of an object in any order; else in the schema's, which keeps what models write first in front. Default: the server's --any-property-order",
     [](Out& out, const Value& value, const Context&) { out.any_property_order = value.get_bool(); }},
    {"whitespace_pattern", kRefused, "a pattern of the whitespace in JSON"},
    {"disable_additional_properties", kRefused, "another meaning of a schema: write additionalProperties into it"},
});

// The form of the answer: OpenAI's way, vLLM's, that of its older versions, llama.cpp's.
inline constexpr auto kStructureFields = std::to_array<Field>({
    other_field("response_format", R"({"type": "object", "properties": {"type": {"enum": ["text", "json_object", "json_schema", "structural_tag"]}, "json_schema": {"type": "object", "properties": {"schema": {"type": ["object", "boolean"]}}}, "schema": {"type": ["object", "boolean"]}}, "required": ["type"]})",
     "the form of the answer; `type`: `text`, `json_object` (any object, or with `schema`), `json_schema` (with `json_schema.schema` or `schema`) or `structural_tag`. Of this field and those that follow, one at most",
     [](Out& out, const Value& value, const Context& context) { read_response_format(out, value, context); }),
    object_field("structured_outputs", kStructuredOutputs, "vLLM's form of the answer"),
    other_field("guided_json", kSchemaShape, "a JSON Schema, or its text, that the answer is valid under",
     [](Out& out, const Value& value, const Context& context) { read_schema(out, "guided_json", value, context); }),
    {"guided_regex", kString, "a regular expression of the whole answer",
     [](Out& out, const Value& value, const Context&) { read_grammar_text(out, "guided_regex", GrammarKind::kRegex, value); },
     0, 0, false, nullptr, &Limits::grammar_bytes},
    other_field("guided_choice", kChoiceShape, "a list of strings, of which the answer is one",
     [](Out& out, const Value& value, const Context& context) { read_choice(out, "guided_choice", value, context); }),
    {"guided_grammar", kString, "a grammar of the answer in GBNF or EBNF",
     [](Out& out, const Value& value, const Context&) { read_grammar_text(out, "guided_grammar", GrammarKind::kGbnf, value); },
     0, 0, false, nullptr, &Limits::grammar_bytes},
    {"guided_whitespace_pattern", kRefused, "a pattern of the whitespace in JSON"},
    {"guided_decoding_backend", kIgnored, "there is one engine of grammars"},
    {"grammar", kString, "llama.cpp's name of guided_grammar",
     [](Out& out, const Value& value, const Context&) { read_grammar_text(out, "grammar", GrammarKind::kGbnf, value); },
     0, 0, false, nullptr, &Limits::grammar_bytes},
    other_field("json_schema", kSchemaShape, "llama.cpp's name of guided_json",
     [](Out& out, const Value& value, const Context& context) { read_schema(out, "json_schema", value, context); }),
});

inline constexpr auto kOutputFields = std::to_array<Field>({
    {"stream", kBool, "answers with an event stream",
     [](Out& out, const Value& value, const Context&) { out.stream = value.get_bool(); }},
    {"stream_interval", kInteger, "tokens to a chunk of a stream; the first comes at once. Default: the server's --stream-interval",
     [](Out& out, const Value& value, const Context&) { out.stream_interval = small(value); }, 1, kInt32Max},
    object_field("stream_options", kStreamOptions, "only together with \"stream\": true",
                 [](Out& out, const Value&, const Context&) { out.has_stream_options = true; }),
    {"prompt_logprobs", kInteger, "reports the prompt's log probabilities with that many alternatives; not in a stream",
     [](Out& out, const Value& value, const Context&) { out.prompt_logprobs = small(value); },
     0, 0, false, &Limits::logprobs},
    other_field("logprob_token_ids", kIdsShape, "with log probabilities: list of the token ids to report instead of the likeliest",
     [](Out& out, const Value& value, const Context& context) {
       out.sampling.logprob_token_ids =
           read_token_ids("logprob_token_ids", value, context, static_cast<size_t>(context.limits.logprobs));
     }),
    {"return_token_ids", kBool, "adds `token_ids` and `prompt_token_ids`",
     [](Out& out, const Value& value, const Context&) { out.return_token_ids = value.get_bool(); }},
    {"return_tokens_as_token_ids", kBool, "writes tokens in log probabilities as `token_id:123`",
     [](Out& out, const Value& value, const Context&) { out.tokens_as_ids = value.get_bool(); }},
    {"skip_special_tokens", kBool, "leaves special tokens out of the text; default true",
     [](Out& out, const Value& value, const Context&) { out.skip_special_tokens = value.get_bool(); }},
    {"quire_timings", kBool, "adds `timings`: ttft_ms, decode_ms, queue_ms, tokens_per_second, cached_tokens; with drafts draft_n, draft_n_accepted",
     [](Out& out, const Value& value, const Context&) { out.timings = value.get_bool(); }},
});

inline constexpr auto kServingFields = std::to_array<Field>({
    {"priority", kInteger, "lower runs earlier, if the server schedules by priority",
     [](Out& out, const Value& value, const Context&) { out.priority = static_cast<int32_t>(integer(value)); },
     -kInt32Max, kInt32Max},
    {"timeout", kNumber, "seconds until the last token, after which the request ends with timeout_error; overrides the header x-request-timeout",
     [](Out& out, const Value& value, const Context&) { out.timeout_ms = value.to_number<double>() * 1000.0; },
     0, 86400, true},
    {"request_id", kString,
     "becomes part of the answer's id; one that is longer than the limit request_id_bytes is replaced",
     [](Out& out, const Value& value, const Context& context) {
       if (value.get_string().size() <= context.limits.request_id_bytes) out.request_id = text(value);
     }},
    {"cache_salt", kString, "cached prompts are shared only between requests with the same salt",
     [](Out& out, const Value& value, const Context&) { out.cache_salt = text(value); },
     1, 0, false, nullptr, &Limits::cache_salt_bytes},
});

// Drafts change the speed of an answer, never its tokens.
inline constexpr auto kSpeculationFields = std::to_array<Field>({
    other_field("prediction", R"({"type": "object", "properties": {"type": {"const": "content"}, "content": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "object"}}]}}, "required": ["content"]})",
     "object of `type` (`content`) and `content` (string or text parts): what the answer is expected to be, such as a file before an edit; where that holds, a step chooses several tokens",
     [](Out& out, const Value& value, const Context&) { out.prediction = read_prediction(value); }),
    {"speculative.n_max", kInteger, "most tokens drafted in a step of this answer, if the server drafts as many; 0: none",
     [](Out& out, const Value& value, const Context&) { out.max_drafts = small(value); }, 0, kInt32Max},
    {"speculative.n_min", kIgnored, "the server's --draft-min counts"},
    {"speculative.p_min", kIgnored, "the server's --draft-p-min counts"},
    {"quire_drafts", kBool, "adds `quire_drafts` to each choice: of its tokens the place in the text, in characters, and whether it was a draft that held",
     [](Out& out, const Value& value, const Context&) { out.draft_marks = value.get_bool(); }},
});

// Of generations alone, not of embeddings.
inline constexpr auto kGenerationFields = std::to_array<Field>({
    {"cache_prompt", kBool, "false: no cached prefix is used; default true",
     [](Out& out, const Value& value, const Context&) { out.cache_prompt = value.get_bool(); }},
});

// Would change the answer, and are not supported: refused when switched on.
inline constexpr auto kRefusedFields = std::to_array<Field>({
    {"prompt_embeds", kRefused, "embeddings instead of tokens"},
    {"logits_processors", kRefused, "code that changes logits"},
});

inline constexpr auto kUserField = std::to_array<Field>({
    {"user", kIgnored, "the caller's own name of a user"},
});

// Accepted for the sake of clients that send them.
inline constexpr auto kIgnoredFields = std::to_array<Field>({
    {"metadata", kIgnored, "the caller's own notes"},
    {"store", kIgnored, "nothing is stored here"},
    {"service_tier", kIgnored, "there is one tier"},
    {"safety_identifier", kIgnored, "the caller's own name of a user"},
    {"prompt_cache_key", kIgnored, "every prompt is looked up in the cache"},
    {"prompt_cache_retention", kIgnored, "cached prompts stay until their memory is needed"},
    {"prompt_cache_options", kIgnored, "cached prompts stay until their memory is needed"},
    {"spaces_between_special_tokens", kIgnored, "the tokenizer's own spacing is used"},
    {"return_progress", kIgnored, "no progress events"},
    {"timings_per_token", kIgnored, "see quire_timings"},
});
// clang-format on

// What the fields of a generation must fulfil together.
void check_generation(const ApiRequest& request);
// The same of messages.
void check_conversation(const ApiRequest& request);

}  // namespace quire::fields
