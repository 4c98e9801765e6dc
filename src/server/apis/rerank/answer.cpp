#include "server/apis/rerank/answer.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "server/apis/json_text.h"

namespace quire {
namespace {

std::string usage_of(const Scores& scores) {
  return fmt::format("\"usage\":{{\"prompt_tokens\":{0},\"total_tokens\":{0}}}", scores.num_tokens);
}

}  // namespace

std::string write_rerank(const Scores& scores, const ApiRequest& request, const std::string& id) {
  const size_t num_documents = scores.values.size();
  std::vector<size_t> order(num_documents);
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return scores.values[a] > scores.values[b]; });
  order.resize(std::min(num_documents, static_cast<size_t>(request.top_n.value_or(static_cast<int>(num_documents)))));

  std::string results = "[";
  for (const size_t index : order) {
    if (results.size() > 1) results += ',';
    results += fmt::format("{{\"index\":{},\"{}\":", index, request.has_plain_scores ? "score" : "relevance_score");
    append_json_number(results, scores.values[index]);
    if (!request.has_plain_scores && request.return_documents) {
      results += ",\"document\":{\"text\":" + json_string(request.prompts[index + 1].text) + '}';
    }
    results += '}';
  }
  results += ']';
  if (request.has_plain_scores) return results;
  return "{\"id\":" + json_string("rerank-" + id) + ",\"model\":" + json_string(scores.model) + ',' + usage_of(scores) +
         ",\"results\":" + results + '}';
}

std::string write_score(const Scores& scores, const std::string& id, int64_t created) {
  std::string body = "{\"id\":" + json_string("score-" + id) +
                     fmt::format(",\"object\":\"list\",\"created\":{}", created) +
                     ",\"model\":" + json_string(scores.model) + ",\"data\":[";
  for (size_t i = 0; i < scores.values.size(); ++i) {
    body += fmt::format("{}{{\"index\":{},\"object\":\"score\",\"score\":", i > 0 ? "," : "", i);
    append_json_number(body, scores.values[i]);
    body += '}';
  }
  return body + "]," + usage_of(scores) + '}';
}

}  // namespace quire
