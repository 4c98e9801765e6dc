#include "server/answers/answer_errors.h"
#include "server/answers/generation.h"
#include "server/answers/prompts.h"
#include "server/apis/answers.h"
#include "server/endpoints/endpoints.h"
#include "server/schema/field_error.h"

namespace quire {

void handle_chat_completions(ServerContext& context, const ExchangePtr& exchange) {
  require_ready(context);
  auto [model, request] = read_request(context, exchange->request(), kChatApi);
  require_room(*model.engine);
  if (request.messages.empty()) refuse_field("messages", "'messages' is missing; give a list of messages");
  GenerationPlan plan;
  plan.model = &model;
  plan.prompts.push_back({.ids = chat_prompt(model, request, /*must_fit=*/true)});
  plan.max_tokens = request.max_tokens.value_or(-1);
  plan.is_conversation = true;
  plan.is_continuation = request.continue_final_message;
  plan.make_answer = make_chat_answer;
  plan.path = "messages";
  plan.request = std::move(request);
  start_generation(context, exchange, std::move(plan));
}

}  // namespace quire
