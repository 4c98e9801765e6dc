#include <algorithm>

#include "server/answers/answer_errors.h"
#include "server/answers/fim_prompts.h"
#include "server/answers/generation.h"
#include "server/answers/prompts.h"
#include "server/apis/answers.h"
#include "server/endpoints/endpoints.h"
#include "server/schema/field_error.h"

namespace quire {
namespace {

constexpr int64_t kDefaultMaxTokens = 16;

// A requested max_tokens must fit; the default is cut to the space left in the context.
int64_t max_tokens(const ServedModel& model, const ApiRequest& request, const std::vector<Prompt>& prompts) {
  if (request.max_tokens) return *request.max_tokens;
  size_t longest = 0;
  for (const Prompt& prompt : prompts) longest = std::max(longest, prompt.ids.size());
  const int64_t room = model.engine->max_sequence_tokens() - static_cast<int64_t>(longest);
  return std::clamp<int64_t>(room, 1, kDefaultMaxTokens);
}

}  // namespace

void handle_completions(ServerContext& context, const ExchangePtr& exchange) {
  require_ready(context);
  auto [model, request] = read_request(context, exchange->request(), kCompletionsApi);
  require_room(*model.engine);
  if (request.prompts.empty()) refuse_field("prompt", "'prompt' is missing; give a string or a list");
  GenerationPlan plan;
  plan.model = &model;
  if (request.suffix) stop_at_ends_of_middle(model, request);
  for (size_t i = 0; i < request.prompts.size(); ++i) {
    PromptValue& prompt = request.prompts[i];
    const std::string path = request.prompts.size() == 1 ? "prompt" : at("prompt", i);
    const bool parse_special = request.parse_special.value_or(context.parse_special);
    std::vector<int32_t> ids = request.suffix ? middle_prompt(model, request, prompt, "suffix")
                                              : plain_prompt(model, request, prompt, parse_special, path);
    plan.prompts.push_back({.ids = std::move(ids), .text = std::move(prompt.text), .is_text = prompt.is_text});
  }
  plan.max_tokens = max_tokens(model, request, plan.prompts);
  plan.is_continuation = true;
  plan.make_answer = make_completions_answer;
  plan.path = "prompt";
  plan.request = std::move(request);
  start_generation(context, exchange, std::move(plan));
}

}  // namespace quire
