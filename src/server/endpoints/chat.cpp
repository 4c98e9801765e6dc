#include "server/answers/answer_errors.h"
#include "server/answers/generation.h"
#include "server/answers/prompts.h"
#include "server/apis/answers.h"
#include "server/endpoints/endpoints.h"
#include "server/schema/field_error.h"

namespace quire {

namespace {

ModelRequest read_conversation(const ServerContext& context, const http::Request& from) {
  ModelRequest given = read_request(context, from, kChatApi);
  if (given.request.messages.empty()) refuse_field("messages", "'messages' is missing; give a list of messages");
  return given;
}

}  // namespace

void handle_chat_completions(ServerContext& context, const ExchangePtr& exchange) {
  require_ready(context);
  auto [model, request] = read_conversation(context, exchange->request());
  require_room(*model.engine);
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

void handle_chat_input_tokens(ServerContext& context, const ExchangePtr& exchange) {
  require_loaded(context);
  const auto [model, request] = read_conversation(context, exchange->request());
  const size_t count = chat_prompt(model, request, /*must_fit=*/false).size();
  exchange->reply({.body = fmt::format(R"({{"object":"response.input_tokens","input_tokens":{}}})", count)});
}

}  // namespace quire
