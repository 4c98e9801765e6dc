// The answers of /v1/rerank and /v1/score: cosines of embeddings. Pure functions, any thread.
#pragma once

#include <cstdint>
#include <string>

#include "server/apis/embedding_writer.h"
#include "server/schema/api_request.h"

namespace quire {

// Of vectors of length 1, the query's first.
std::string write_rerank(const Embeddings& embeddings, const ApiRequest& request, const std::string& id);
// request.num_queries vectors, then those that they are compared with: one by one, or all with the only query.
std::string write_score(const Embeddings& embeddings, const ApiRequest& request, const std::string& id,
                        int64_t created);

}  // namespace quire
