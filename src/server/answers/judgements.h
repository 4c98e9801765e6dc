// Documents that a language model judges: for each pair of a query and a document, the log probabilities of "yes" and
// "no" as the token that follows the question. The documents are one list of the engine, so they run in one batch, and
// find in the cache what their prompts share.
#pragma once

#include <vector>

#include "server/answers/embeddings.h"

namespace quire {

struct JudgedPair {
  size_t query = 0;     // of ApiRequest::prompts
  size_t document = 0;  // of ApiRequest::prompts
};

// The model has a relevance format. The vectors that are written are {yes, no}, of each pair. A document that is too
// long is cut at its end, if the request allows that. Throws ApiError when nothing was admitted. Any thread.
void start_judgements(const ExchangePtr& exchange, const ServedModel& model, const ApiRequest& request,
                      const std::vector<JudgedPair>& pairs, const EmbeddingAnswer& answer);

// Of "yes" against "no", from their log probabilities.
double yes_probability(const std::vector<float>& yes_and_no);

}  // namespace quire
