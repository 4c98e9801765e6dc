// Comparisons of texts by the cosine of their embeddings: /v1/rerank, /v2/rerank, /v1/score.

#include <ctime>

#include "server/answers/answer_errors.h"
#include "server/answers/embeddings.h"
#include "server/answers/prompts.h"
#include "server/apis/rerank/answer.h"
#include "server/endpoints/endpoints.h"
#include "server/schema/field_error.h"

namespace quire {
namespace {

const std::string& id_of(const http::Request& from, const ApiRequest& request) {
  return request.request_id.empty() ? from.id : request.request_id;
}

}  // namespace

void handle_rerank(ServerContext& context, const ExchangePtr& exchange) {
  require_ready(context);
  const auto [model, request] = read_request(context, exchange->request(), kRerankApi);
  require_room(*model.engine);
  if (request.num_queries == 0) refuse_field("query", "'query' is missing; give a string");
  if (request.prompts.size() < 2) refuse_field("documents", "'documents' is missing; give a list of texts");
  const auto shared = std::make_shared<const ApiRequest>(request);
  start_embeddings(context, exchange, model, request,
                   {.path = "documents",
                    .query_path = "query",
                    .errors = kOpenAiErrors,
                    .write = [shared, id = id_of(exchange->request(), request)](
                                 const Embeddings& embeddings) { return write_rerank(embeddings, *shared, id); },
                    .normalize = true});
}

void handle_score(ServerContext& context, const ExchangePtr& exchange) {
  require_ready(context);
  const auto [model, request] = read_request(context, exchange->request(), kScoreApi);
  require_room(*model.engine);
  const auto num_queries = static_cast<size_t>(request.num_queries);
  if (num_queries == 0) refuse_field("text_1", "'text_1' is missing; give a string or a list");
  const size_t num_texts = request.prompts.size() - num_queries;
  if (num_texts == 0) refuse_field("text_2", "'text_2' is missing; give a string or a list");
  if (num_queries != 1 && num_queries != num_texts) {
    refuse_field("text_1",
                 fmt::format("'text_1' holds {} texts and 'text_2' {}; give one, or as many", num_queries, num_texts));
  }
  const auto shared = std::make_shared<const ApiRequest>(request);
  const auto created = static_cast<int64_t>(std::time(nullptr));
  start_embeddings(
      context, exchange, model, request,
      {.path = "text_2",
       .query_path = "text_1",
       .errors = kOpenAiErrors,
       .write = [shared, created, id = id_of(exchange->request(), request)](
                    const Embeddings& embeddings) { return write_score(embeddings, *shared, id, created); },
       .normalize = true});
}

}  // namespace quire
