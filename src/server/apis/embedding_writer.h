// The seam between the embeddings of a request's inputs and how an API says them: the reader of the streams
// (answers/embeddings.h) collects them, and a function of the API writes the body of its reply.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace quire {

struct Embeddings {
  std::string model;                        // as clients call it
  std::vector<std::vector<float>> vectors;  // of each input
  std::vector<int64_t> num_tokens;          // of each input
  bool is_truncated = false;
  double total_ms = 0.0;

  int64_t total_tokens() const {
    int64_t sum = 0;
    for (const int64_t count : num_tokens) sum += count;
    return sum;
  }
};

// Throws ApiError for vectors that cannot be said.
using WriteEmbeddings = std::function<std::string(const Embeddings& embeddings)>;

}  // namespace quire
