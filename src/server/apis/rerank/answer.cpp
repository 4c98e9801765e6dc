#include "server/apis/rerank/answer.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "server/apis/json_text.h"

namespace quire {
namespace {

double cosine(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0.0;
  for (size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return sum;
}

std::string usage_of(const Embeddings& embeddings) {
  return fmt::format("\"usage\":{{\"prompt_tokens\":{0},\"total_tokens\":{0}}}", embeddings.total_tokens());
}

}  // namespace

std::string write_rerank(const Embeddings& embeddings, const ApiRequest& request, const std::string& id) {
  const size_t num_documents = embeddings.vectors.size() - 1;
  std::vector<double> scores(num_documents);
  for (size_t i = 0; i < num_documents; ++i) scores[i] = cosine(embeddings.vectors[0], embeddings.vectors[i + 1]);
  std::vector<size_t> order(num_documents);
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return scores[a] > scores[b]; });
  order.resize(std::min(num_documents, static_cast<size_t>(request.top_n.value_or(static_cast<int>(num_documents)))));

  std::string results = "[";
  for (const size_t index : order) {
    if (results.size() > 1) results += ',';
    results += fmt::format("{{\"index\":{},\"{}\":", index, request.has_plain_scores ? "score" : "relevance_score");
    append_json_number(results, scores[index]);
    if (!request.has_plain_scores && request.return_documents) {
      results += ",\"document\":{\"text\":" + json_string(request.prompts[index + 1].text) + '}';
    }
    results += '}';
  }
  results += ']';
  if (request.has_plain_scores) return results;
  return "{\"id\":" + json_string("rerank-" + id) + ",\"model\":" + json_string(embeddings.model) + ',' +
         usage_of(embeddings) + ",\"results\":" + results + '}';
}

std::string write_score(const Embeddings& embeddings, const ApiRequest& request, const std::string& id,
                        int64_t created) {
  const auto num_queries = static_cast<size_t>(request.num_queries);
  std::string body = "{\"id\":" + json_string("score-" + id) +
                     fmt::format(",\"object\":\"list\",\"created\":{}", created) +
                     ",\"model\":" + json_string(embeddings.model) + ",\"data\":[";
  for (size_t i = 0; num_queries + i < embeddings.vectors.size(); ++i) {
    const std::vector<float>& query = embeddings.vectors[num_queries == 1 ? 0 : i];
    body += fmt::format("{}{{\"index\":{},\"object\":\"score\",\"score\":", i > 0 ? "," : "", i);
    append_json_number(body, cosine(query, embeddings.vectors[num_queries + i]));
    body += '}';
  }
  return body + "]," + usage_of(embeddings) + '}';
}

}  // namespace quire
