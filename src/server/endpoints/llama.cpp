// llama-server's own endpoints: /completion, /infill, /apply-template, /props, /slots.

#include "decoding/generation_defaults.h"
#include "server/answers/answer_errors.h"
#include "server/answers/fim_prompts.h"
#include "server/answers/generation.h"
#include "server/answers/prompts.h"
#include "server/apis/answers.h"
#include "server/apis/json_text.h"
#include "server/endpoints/endpoints.h"
#include "server/schema/field_error.h"

namespace quire {
namespace {

void start(ServerContext& context, const ExchangePtr& exchange, GenerationPlan plan) {
  plan.max_tokens = plan.request.max_tokens.value_or(-1);
  plan.is_continuation = true;
  plan.make_answer = make_llama_answer;
  plan.path = "prompt";
  plan.request.timings = true;
  plan.request.keeps_tokens = true;
  start_generation(context, exchange, std::move(plan));
}

}  // namespace

void handle_llama_completion(ServerContext& context, const ExchangePtr& exchange) {
  require_ready(context);
  auto [model, request] = read_request(context, exchange->request(), kLlamaCompletionApi);
  require_room(*model.engine);
  if (request.prompts.empty()) refuse_field("prompt", "'prompt' is missing; give a string or a list");
  GenerationPlan plan;
  plan.model = &model;
  for (size_t i = 0; i < request.prompts.size(); ++i) {
    const std::string path = request.prompts.size() == 1 ? "prompt" : at("prompt", i);
    plan.prompts.push_back({.ids = plain_prompt(model, request, request.prompts[i],
                                                request.parse_special.value_or(context.parse_special), path)});
  }
  plan.request = std::move(request);
  start(context, exchange, std::move(plan));
}

void handle_llama_infill(ServerContext& context, const ExchangePtr& exchange) {
  require_ready(context);
  auto [model, request] = read_request(context, exchange->request(), kLlamaInfillApi);
  require_room(*model.engine);
  if (request.prefix.empty() && request.suffix.value_or("").empty()) {
    refuse_field("input_prefix", "'input_prefix' and 'input_suffix' are missing; give the text around the answer");
  }
  const std::string written = request.prompts.empty() ? "" : request.prompts[0].text;
  if (!request.suffix) request.suffix = "";
  stop_at_ends_of_middle(model, request);
  GenerationPlan plan;
  plan.model = &model;
  plan.prompts.push_back(
      {.ids = middle_prompt(model, request, {.text = request.prefix + written, .ids = {}, .is_text = true},
                            "input_suffix")});
  plan.request = std::move(request);
  start(context, exchange, std::move(plan));
}

void handle_llama_template(ServerContext& context, const ExchangePtr& exchange) {
  require_loaded(context);
  const auto [model, request] = read_request(context, exchange->request(), kLlamaTemplateApi);
  if (request.messages.empty()) refuse_field("messages", "'messages' is missing; give a list of messages");
  exchange->reply({.body = "{\"prompt\":" + json_string(chat_text(model, request).text) + '}'});
}

void handle_llama_props(ServerContext& context, const ExchangePtr& exchange) {
  require_loaded(context);
  const ServedModel& model = require_model(context, "");
  const Tokenizer& tokenizer = model.text->tokenizer();
  const auto name = [&](std::optional<int32_t> id) { return id ? tokenizer.token_text(*id) : std::string_view(); };
  json::object params = to_json(model.default_sampling);
  params["n_predict"] = -1;
  exchange->reply(
      {.body = json::serialize(json::object{
           {"default_generation_settings", {{"n_ctx", model.card.max_model_len}, {"params", std::move(params)}}},
           {"total_slots", model.engine->runner().options().max_sequences},
           {"model_alias", model.card.id},
           {"model_path", model.card.root},
           {"modalities", {{"vision", false}, {"audio", false}}},
           {"chat_template", model.text->chat_template_source()},
           {"bos_token", name(tokenizer.bos_id())},
           {"eos_token", name(tokenizer.eos_id())},
           {"build_info", "quire " QUIRE_VERSION}})});
}

void handle_llama_slots(ServerContext&, const ExchangePtr&) {
  throw ApiError(501, "not_supported_error", "not_supported",
                 "/slots is not supported: it would show the prompts of other users; GET /status has the numbers");
}

}  // namespace quire
