// Comparisons of texts: /v1/rerank, /v2/rerank, /v1/score.

#include <ctime>

#include "server/answers/answer_errors.h"
#include "server/answers/embeddings.h"
#include "server/answers/judgements.h"
#include "server/answers/prompts.h"
#include "server/apis/rerank/answer.h"
#include "server/endpoints/endpoints.h"
#include "server/schema/field_error.h"

namespace quire {
namespace {

const std::string& id_of(const http::Request& from, const ApiRequest& request) {
  return request.request_id.empty() ? from.id : request.request_id;
}

double cosine(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0.0;
  for (size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return sum;
}

// Each document with its query: the only one, or the one at its place.
std::vector<JudgedPair> pairs_of(const ApiRequest& request) {
  const auto num_queries = static_cast<size_t>(request.num_queries);
  std::vector<JudgedPair> pairs;
  for (size_t i = 0; num_queries + i < request.prompts.size(); ++i) {
    pairs.push_back({.query = num_queries == 1 ? 0 : i, .document = num_queries + i});
  }
  return pairs;
}

// `path` and `query_path` name the documents and queries of the request.
struct Comparison {
  std::string path;
  std::string query_path;
  std::function<std::string(const Scores& scores)> write;
};

// By the model's judgement, or by embeddings where it has no word for that, or the request has one for the other.
void compare(ServerContext& context, const ExchangePtr& exchange, const ServedModel& model, const ApiRequest& request,
             const Comparison& comparison) {
  const bool is_judged = model.text->relevance_format().has_value() && !request.pooling;
  const std::vector<JudgedPair> pairs = pairs_of(request);
  const auto write = [is_judged, pairs, tell = comparison.write](const Embeddings& given) {
    Scores scores{.model = given.model, .values = {}, .num_tokens = given.total_tokens()};
    for (size_t i = 0; i < pairs.size(); ++i) {
      scores.values.push_back(is_judged ? yes_probability(given.vectors[i])
                                        : cosine(given.vectors[pairs[i].query], given.vectors[pairs[i].document]));
    }
    return tell(scores);
  };
  const EmbeddingAnswer answer{.path = comparison.path,
                               .query_path = comparison.query_path,
                               .errors = kOpenAiErrors,
                               .write = write,
                               .normalize = true};
  if (is_judged) return start_judgements(exchange, model, request, pairs, answer);
  start_embeddings(context, exchange, model, request, answer);
}

}  // namespace

void handle_rerank(ServerContext& context, const ExchangePtr& exchange) {
  require_ready(context);
  const auto [model, request] = read_request(context, exchange->request(), kRerankApi);
  require_room(*model.engine);
  if (request.num_queries == 0) refuse_field("query", "'query' is missing; give a string");
  if (request.prompts.size() < 2) refuse_field("documents", "'documents' is missing; give a list of texts");
  const auto shared = std::make_shared<const ApiRequest>(request);
  compare(context, exchange, model, request,
          {.path = "documents",
           .query_path = "query",
           .write = [shared, id = id_of(exchange->request(), request)](const Scores& scores) {
             return write_rerank(scores, *shared, id);
           }});
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
  const auto created = static_cast<int64_t>(std::time(nullptr));
  compare(context, exchange, model, request,
          {.path = "text_2",
           .query_path = "text_1",
           .write = [created, id = id_of(exchange->request(), request)](const Scores& scores) {
             return write_score(scores, id, created);
           }});
}

}  // namespace quire
