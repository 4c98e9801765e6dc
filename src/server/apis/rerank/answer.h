// The answers of /v1/rerank and /v1/score. Pure functions, any thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "server/schema/api_request.h"

namespace quire {

struct Scores {
  std::string model;           // as clients call it
  std::vector<double> values;  // of each document
  int64_t num_tokens = 0;      // of all texts
};

std::string write_rerank(const Scores& scores, const ApiRequest& request, const std::string& id);
std::string write_score(const Scores& scores, const std::string& id, int64_t created);

}  // namespace quire
