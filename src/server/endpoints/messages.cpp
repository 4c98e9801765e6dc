// Anthropic's POST /v1/messages and /v1/messages/count_tokens.
#include <algorithm>

#include "server/answers/answer_errors.h"
#include "server/answers/generation.h"
#include "server/answers/prompts.h"
#include "server/apis/answers.h"
#include "server/endpoints/endpoints.h"
#include "server/schema/field_error.h"

namespace quire {
namespace {

ModelRequest read_conversation(const ServerContext& context, const http::Request& from) {
  ModelRequest given = read_request(context, from, kMessagesApi);
  ApiRequest& request = given.request;
  if (request.messages.empty()) refuse_field("messages", "'messages' is missing; give a list of messages");
  // Here a model thinks only where the client asks for it.
  const json::value* const thinks = request.template_variables.if_contains("enable_thinking");
  request.include_reasoning = thinks != nullptr && thinks->get_bool();
  request.template_variables["enable_thinking"] = request.include_reasoning;
  return given;
}

}  // namespace

void handle_messages(ServerContext& context, const ExchangePtr& exchange) {
  require_ready(context);
  auto [model, request] = read_conversation(context, exchange->request());
  require_room(*model.engine);
  if (!request.max_tokens) refuse_field("max_tokens", "'max_tokens' is missing; give the most tokens to generate");
  GenerationPlan plan;
  plan.model = &model;
  plan.prompts.push_back({.ids = chat_prompt(model, request, /*must_fit=*/true)});
  // Clients ask for as much as their own models can write; the answer says when the context ended it.
  const int64_t room = model.engine->max_sequence_tokens() - static_cast<int64_t>(plan.prompts[0].ids.size());
  plan.max_tokens = std::min(*request.max_tokens, std::max<int64_t>(room, 1));
  plan.is_conversation = true;
  plan.is_continuation = request.continue_final_message;
  plan.make_answer = make_messages_answer;
  plan.path = "messages";
  plan.request = std::move(request);
  start_generation(context, exchange, std::move(plan));
}

void handle_count_tokens(ServerContext& context, const ExchangePtr& exchange) {
  require_loaded(context);
  const auto [model, request] = read_conversation(context, exchange->request());
  const size_t count = chat_prompt(model, request, /*must_fit=*/false).size();
  exchange->reply({.body = fmt::format("{{\"input_tokens\":{}}}", count)});
}

}  // namespace quire
