// llama-server's own endpoints: /completion, /infill, /apply-template.
#include "server/apis/apis.h"
#include "server/apis/shared_fields.h"

namespace quire {
namespace fields {
namespace {

std::vector<ExtraFile> read_extra_files(const Value& value, const Context& context) {
  if (!value.is_array()) refuse_value("input_extra", "a list of objects with filename and text", value);
  const json::array& list = value.get_array();
  const auto most = static_cast<size_t>(context.limits.prompts);
  if (list.size() > most) {
    refuse_field("input_extra", fmt::format("'input_extra' holds {} files, at most {} are allowed", list.size(), most));
  }
  std::vector<ExtraFile> files;
  for (size_t i = 0; i < list.size(); ++i) {
    const std::string path = at("input_extra", i);
    if (!list[i].is_object()) refuse_value(path, "an object with filename and text", list[i]);
    const Value* const name = find_member(list[i].get_object(), "filename");
    if (name != nullptr && !name->is_string()) refuse_value(at(path, "filename"), "a string", *name);
    files.push_back({.name = name != nullptr ? text(*name) : "file", .text = read_document(path, list[i])});
  }
  return files;
}

// clang-format off
constexpr auto kGenerationOwn = std::to_array<Field>({
    {"n_predict", kInteger, "most tokens to generate; -1 or absent: no limit but the context",
     [](Out& out, const Value& value, const Context&) { out.max_tokens = integer(value); }, -1, kInt32Max},
    {"n_probs", kInteger, "reports log probabilities: each token's and those of that many of the likeliest",
     [](Out& out, const Value& value, const Context&) {
       out.logprobs = integer(value) > 0;
       if (out.logprobs) out.top_logprobs = small(value);
     },
     0, 0, false, &Limits::logprobs},
    {"return_tokens", kBool, "adds the token ids as `tokens`",
     [](Out& out, const Value& value, const Context&) { out.return_token_ids = value.get_bool(); }},
    {"post_sampling_probs", kRefused, "probabilities after the samplers"},
    {"lora", kRefused, "adapters"},
    {"image_data", kRefused, "images"},
    {"samplers", kIgnored, "the order of the samplers is fixed"},
    {"repeat_last_n", kIgnored, "penalties count the whole text"},
    {"id_slot", kIgnored, "there are no slots"},
    {"n_keep", kIgnored, "nothing is cut"},
    {"n_indent", kIgnored, "no least indentation"},
    {"min_keep", kIgnored, "one token is always kept"},
    {"t_max_prompt_ms", kIgnored, "see timeout"},
    {"t_max_predict_ms", kIgnored, "see timeout"},
    {"timings_per_token", kIgnored, "timings come with the end"},
    {"return_progress", kIgnored, "no progress events"},
    {"response_fields", kIgnored, "every member is there"},
});

constexpr auto kCompletionOwn = std::to_array<Field>({
    other_field("prompt", kPromptShape, "string, list of token ids, list that mixes both, or a list of several such prompts",
     [](Out& out, const Value& value, const Context& context) { out.prompts = read_mixed_prompts("prompt", value, context); }),
});

constexpr auto kInfillOwn = std::to_array<Field>({
    {"input_prefix", kString, "the text before",
     [](Out& out, const Value& value, const Context&) { out.prefix = text(value); }},
    {"input_suffix", kString, "the text after",
     [](Out& out, const Value& value, const Context&) { out.suffix = text(value); }},
    other_field("input_extra", R"({"type": "array", "items": {"type": "object", "properties": {"filename": {"type": "string"}, "text": {"type": "string"}}, "required": ["text"]}})", "list of other files: `filename` and `text`",
     [](Out& out, const Value& value, const Context& context) { out.files = read_extra_files(value, context); }),
    {"prompt", kString, "more of the text before: what is being written",
     [](Out& out, const Value& value, const Context&) { out.prompts = {{.text = text(value), .ids = {}, .is_text = true}}; }},
});
// clang-format on

constexpr auto kStream = take(kOutputFields, {"stream"});

constexpr auto kCompletionFields =
    join(kModelField, kCompletionOwn, kGenerationOwn, kSpecialTokenFields, kStoppingFields, kSamplingFields, kStream,
         kServingFields, kSpeculationFields, kGenerationFields, kStructureFields, kRefusedFields);
constexpr auto kInfillFields =
    join(kModelField, kInfillOwn, kGenerationOwn, kStoppingFields, kSamplingFields, kStream, kServingFields,
         kSpeculationFields, kGenerationFields, kStructureFields, kRefusedFields);
constexpr auto kTemplateFields = join(kModelField, kConversationFields);

}  // namespace
}  // namespace fields

constinit const Api kLlamaCompletionApi{.name = "completion",
                                        .schema = "LlamaCompletionRequest",
                                        .fields = fields::kCompletionFields,
                                        .required = "prompt",
                                        .check = fields::check_generation};
constinit const Api kLlamaInfillApi{.name = "infill",
                                    .schema = "LlamaInfillRequest",
                                    .fields = fields::kInfillFields,
                                    .check = fields::check_generation};
constinit const Api kLlamaTemplateApi{.name = "apply-template",
                                      .schema = "LlamaTemplateRequest",
                                      .fields = fields::kTemplateFields,
                                      .required = "messages",
                                      .check = fields::check_conversation};

}  // namespace quire
