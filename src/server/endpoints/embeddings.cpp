#include "server/answers/embeddings.h"

#include "server/answers/answer_errors.h"
#include "server/answers/prompts.h"
#include "server/apis/openai_embeddings/answer.h"
#include "server/endpoints/endpoints.h"
#include "server/schema/field_error.h"

namespace quire {

void handle_embeddings(ServerContext& context, const ExchangePtr& exchange) {
  require_ready(context);
  const auto [model, request] = read_request(context, exchange->request(), kEmbeddingsApi);
  require_room(*model.engine);
  if (request.prompts.empty()) refuse_field("input", "'input' is missing; give a string or a list");
  start_embeddings(context, exchange, model, request,
                   {.path = "input",
                    .errors = kOpenAiErrors,
                    .write = request.base64 ? write_openai_embeddings_base64 : write_openai_embeddings});
}

}  // namespace quire
