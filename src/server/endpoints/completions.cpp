#include <algorithm>

#include "server/answers/answer_errors.h"
#include "server/answers/generation.h"
#include "server/answers/prompts.h"
#include "server/answers/stream_group.h"
#include "server/apis/answers.h"
#include "server/schema/field_error.h"

namespace quire {
namespace {

constexpr int64_t kDefaultMaxTokens = 16;

// A requested max_tokens must fit; the default is cut to the space left in the context.
int64_t max_tokens(const ServerContext& context, const GenerationPlan& plan) {
  if (plan.request.max_tokens) return *plan.request.max_tokens;
  size_t longest = 0;
  for (const Prompt& prompt : plan.prompts) longest = std::max(longest, prompt.ids.size());
  const int64_t room = context.engine->max_sequence_tokens() - static_cast<int64_t>(longest);
  return std::clamp<int64_t>(room, 1, kDefaultMaxTokens);
}

}  // namespace

void handle_completions(ServerContext& context, const ExchangePtr& exchange) {
  answer_errors(context, exchange, [&] {
    require_ready(context);
    GenerationPlan plan;
    plan.request = parse_request(exchange->request().body, kCompletionsApi, parse_context(context));
    ApiRequest& request = plan.request;
    require_room(*context.engine);
    require_model(context, request.model);
    if (request.prompts.empty()) refuse_field("prompt", "'prompt' is missing; give a string or a list");
    for (size_t i = 0; i < request.prompts.size(); ++i) {
      PromptValue& prompt = request.prompts[i];
      const std::string path = request.prompts.size() == 1 ? "prompt" : at("prompt", i);
      std::vector<int32_t> ids = plain_prompt(context, request, prompt, request.parse_special.value_or(true), path);
      plan.prompts.push_back({.ids = std::move(ids), .text = std::move(prompt.text), .is_text = prompt.is_text});
    }
    plan.max_tokens = max_tokens(context, plan);
    plan.is_continuation = true;
    plan.make_answer = make_completions_answer;
    plan.path = "prompt";
    start_generation(context, exchange, std::move(plan));
  });
}

}  // namespace quire
