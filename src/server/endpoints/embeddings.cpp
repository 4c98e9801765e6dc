#include "server/answers/embeddings.h"

#include "server/answers/answer_errors.h"
#include "server/answers/prompts.h"
#include "server/endpoints/endpoints.h"
#include "server/schema/field_error.h"

namespace quire {

void handle_embeddings(ServerContext& context, const ExchangePtr& exchange) {
  require_ready(context);
  const auto [model, request] = read_request(context, exchange->request(), kEmbeddingsApi);
  require_room(*model.engine);
  if (request.prompts.empty()) refuse_field("input", "'input' is missing; give a string or a list");
  GenerateRequest common = engine_request(model, exchange->request(), request);
  const EmbeddingUse& use = model.engine->runner().info().embedding;
  common.pooling = request.pooling.value_or(use.pooling);
  common.max_tokens = 0;
  EmbeddingPlan plan{
      .model = &model, .dimensions = request.dimensions, .is_base64 = request.base64, .normalize = use.normalize};
  std::vector<GenerateRequest> requests;
  for (size_t i = 0; i < request.prompts.size(); ++i) {
    const std::string path = request.prompts.size() == 1 ? "input" : at("input", i);
    GenerateRequest out = common;
    out.prompt =
        plain_prompt(model, request, request.prompts[i], request.parse_special.value_or(context.parse_special), path);
    plan.is_truncated |= fit_prompt(out.prompt, request, 0, model.engine->max_sequence_tokens(), path);
    plan.num_tokens.push_back(static_cast<int64_t>(out.prompt.size()));
    requests.push_back(std::move(out));
  }
  const auto group = std::make_shared<StreamGroup>(exchange, *model.engine, std::move(requests));
  exchange->post(
      [exchange, group, plan = std::move(plan)] { group->start(make_embedding_reader(exchange, *group, plan)); });
}

}  // namespace quire
