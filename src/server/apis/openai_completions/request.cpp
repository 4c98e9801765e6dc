#include "server/apis/apis.h"
#include "server/apis/shared_fields.h"

namespace quire {
namespace fields {
namespace {

// clang-format off
constexpr auto kCompletionsOwn = std::to_array<Field>({
    other_field("prompt", kPromptShape, "string, list of strings, list of token ids, or list of such lists",
     [](Out& out, const Value& value, const Context& context) { out.prompts = read_prompts("prompt", value, context); }),
    {"suffix", kString, "text after the completion, which then goes between the two; needs a model with tokens for that, and no echo",
     [](Out& out, const Value& value, const Context&) {
       if (!value.get_string().empty()) out.suffix = text(value);
     }},
    {"max_tokens", kInteger, "most tokens to generate; default 16; -1: no limit but the context",
     [](Out& out, const Value& value, const Context&) { store_max_tokens("max_tokens", 0, out, value); }, -1, kInt32Max},
    {"n_probs", kInteger, "llama-server's name of logprobs",
     [](Out& out, const Value& value, const Context&) {
       out.logprobs = integer(value) > 0;
       if (out.logprobs) out.top_logprobs = small(value);
     },
     0, 0, false, &Limits::logprobs},
    {"logprobs", kInteger, "reports log probabilities: each token's and those of that many of the likeliest",
     [](Out& out, const Value& value, const Context&) {
       out.logprobs = true;
       out.top_logprobs = small(value);
     },
     0, 0, false, &Limits::logprobs},
    {"echo", kBool, "puts the prompt before the completion, with log probabilities when these are asked for",
     [](Out& out, const Value& value, const Context&) { out.echo = value.get_bool(); }},
});
// clang-format on

void check_completions(const ApiRequest& request) {
  check_generation(request);
  if (request.suffix && request.echo) refuse_field("echo", "'echo' contradicts suffix; leave one of them out");
}

constexpr auto kCompletionsFields =
    join(kModelField, kSpecialTokenFields, kTruncateField, kLengthAlias, kCompletionsOwn, kStoppingFields,
         kSamplingFields, kOutputFields, kServingFields, kSpeculationFields, kGenerationFields, kStructureFields,
         kRefusedFields, kUserField, kIgnoredFields);

}  // namespace
}  // namespace fields

constinit const Api kCompletionsApi{.name = "completions",
                                    .schema = "CompletionRequest",
                                    .fields = fields::kCompletionsFields,
                                    .required = "prompt",
                                    .check = fields::check_completions};

}  // namespace quire
