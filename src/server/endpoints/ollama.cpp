// Ollama's /api/chat, /api/generate, /api/embed and /api/embeddings.

#include <ctime>

#include "server/answers/answer_errors.h"
#include "server/answers/embeddings.h"
#include "server/answers/fim_prompts.h"
#include "server/answers/generation.h"
#include "server/answers/prompts.h"
#include "server/answers/recent_turns.h"
#include "server/apis/answers.h"
#include "server/apis/ollama/answer.h"
#include "server/endpoints/endpoints.h"
#include "server/schema/field_error.h"

namespace quire {
namespace {

// Without a prompt clients ask for the model to be loaded, which it is.
void reply_loaded(const ExchangePtr& exchange, const ServedModel& model, const ApiRequest& request, bool is_chat) {
  std::string body = ollama_loaded(model.card.id, static_cast<int64_t>(std::time(nullptr)), is_chat, request.unloads);
  if (!request.stream) return exchange->reply({.body = std::move(body)});
  exchange->reply({.content_type = "application/x-ndjson", .body = body + '\n'});
}

void start(ServerContext& context, const ExchangePtr& exchange, const ServedModel& model, GenerationPlan plan) {
  plan.model = &model;
  plan.max_tokens = plan.request.max_tokens.value_or(-1);
  plan.request.timings = true;  // every answer ends with them
  start_generation(context, exchange, std::move(plan));
}

// The prompt of /api/generate: a turn of the user's, or text as it is.
Prompt generate_prompt(const ServerContext& context, const ServedModel& model, ApiRequest& request) {
  const PromptValue& prompt = request.prompts[0];
  if (request.suffix) {
    stop_at_ends_of_middle(model, request);
    return {.ids = middle_prompt(model, request, prompt, "suffix")};
  }
  if (request.is_raw || !model.text->has_chat_template()) {
    return {.ids = plain_prompt(model, request, prompt, context.parse_special, "prompt")};
  }
  if (!request.system.empty()) request.messages.push_back({{"role", "system"}, {"content", request.system}});
  request.messages.push_back({{"role", "user"}, {"content", prompt.text}});
  return {.ids = chat_prompt(model, request, /*must_fit=*/true)};
}

}  // namespace

void handle_ollama_chat(ServerContext& context, const ExchangePtr& exchange) {
  require_ready(context);
  auto [model, request] = read_request(context, exchange->request(), kOllamaChatApi);
  if (request.messages.empty()) return reply_loaded(exchange, model, request, /*is_chat=*/true);
  require_room(*model.engine);
  GenerationPlan plan;
  plan.prompts.push_back(conversation_prompt(model, request));
  plan.is_conversation = true;
  plan.make_answer = make_ollama_chat_answer;
  plan.path = "messages";
  plan.request = std::move(request);
  start(context, exchange, model, std::move(plan));
}

void handle_ollama_generate(ServerContext& context, const ExchangePtr& exchange) {
  require_ready(context);
  auto [model, request] = read_request(context, exchange->request(), kOllamaGenerateApi);
  if (request.prompts.empty()) return reply_loaded(exchange, model, request, /*is_chat=*/false);
  require_room(*model.engine);
  GenerationPlan plan;
  plan.prompts.push_back(generate_prompt(context, model, request));
  plan.is_conversation = !request.messages.empty();
  plan.is_continuation = !plan.is_conversation;
  plan.make_answer = make_ollama_generate_answer;
  plan.path = "prompt";
  plan.request = std::move(request);
  start(context, exchange, model, std::move(plan));
}

void handle_ollama_embed(ServerContext& context, const ExchangePtr& exchange) {
  require_ready(context);
  const auto [model, request] = read_request(context, exchange->request(), kOllamaEmbedApi);
  require_room(*model.engine);
  if (request.prompts.empty()) {
    return exchange->reply({.body = write_ollama_embed({.model = model.card.id, .vectors = {}, .num_tokens = {}})});
  }
  start_embeddings(context, exchange, model, request,
                   {.path = "input", .errors = kOllamaErrors, .write = write_ollama_embed, .normalize = true});
}

void handle_ollama_embeddings(ServerContext& context, const ExchangePtr& exchange) {
  require_ready(context);
  const auto [model, request] = read_request(context, exchange->request(), kOllamaEmbeddingsApi);
  require_room(*model.engine);
  if (request.prompts.empty()) refuse_field("prompt", "'prompt' is missing; give a string");
  start_embeddings(context, exchange, model, request,
                   {.path = "prompt", .errors = kOllamaErrors, .write = write_ollama_embeddings});
}

}  // namespace quire
