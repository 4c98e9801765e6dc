#include "server/answers/fim_prompts.h"

#include "dialogue/fim.h"
#include "server/schema/field_error.h"

namespace quire {

std::vector<int32_t> middle_prompt(const ServedModel& model, const ApiRequest& request, const PromptValue& prompt,
                                   const std::string& path) {
  const std::optional<FimTokens>& tokens = model.text->fim_tokens();
  if (!tokens) {
    refuse_unsupported(path, fmt::format("'{}' is given, but the model '{}' has no tokens to fill in a middle; use a "
                                         "model of code that has, or leave it out",
                                         path, model.card.id));
  }
  if (!prompt.is_text || !prompt.more.empty()) {
    refuse_field("prompt", fmt::format("'prompt' holds token ids; together with '{}' it should be a string", path));
  }
  std::vector<FimFile> files;
  for (const ExtraFile& file : request.files) files.push_back({.name = file.name, .text = file.text});
  return fim_prompt(model.text->tokenizer(), *tokens,
                    {.prefix = prompt.text, .suffix = *request.suffix, .files = files});
}

void stop_at_ends_of_middle(const ServedModel& model, ApiRequest& request) {
  const std::optional<FimTokens>& tokens = model.text->fim_tokens();
  if (!tokens) return;
  request.stop_token_ids.insert(request.stop_token_ids.end(), tokens->ends.begin(), tokens->ends.end());
}

}  // namespace quire
