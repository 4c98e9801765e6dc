#include "server/answers/answer_errors.h"
#include "server/answers/generation.h"
#include "server/answers/prompts.h"
#include "server/answers/stream_group.h"
#include "server/apis/answers.h"
#include "server/schema/field_error.h"

namespace quire {

void handle_chat_completions(ServerContext& context, const ExchangePtr& exchange) {
  answer_errors(context, exchange, [&] {
    require_ready(context);
    GenerationPlan plan;
    plan.request = parse_request(exchange->request().body, kChatApi, parse_context(context));
    require_room(*context.engine);
    require_model(context, plan.request.model);
    if (plan.request.messages.empty()) refuse_field("messages", "'messages' is missing; give a list of messages");
    plan.prompts.push_back({.ids = chat_prompt(context, plan.request, /*must_fit=*/true)});
    plan.max_tokens = plan.request.max_tokens.value_or(-1);
    plan.is_continuation = plan.request.continue_final_message;
    plan.make_answer = make_chat_answer;
    plan.path = "messages";
    start_generation(context, exchange, std::move(plan));
  });
}

}  // namespace quire
