// From the embeddings of an admitted list of inputs to the reply of /v1/embeddings.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "server/answers/stream_group.h"
#include "server/context.h"

namespace quire {

struct EmbeddingPlan {
  const ServedModel* model = nullptr;
  std::vector<int64_t> num_tokens = {};  // of each input
  std::optional<int> dimensions = {};
  bool is_base64 = false;
  bool is_truncated = false;
  bool normalize = true;
};

std::unique_ptr<StreamReader> make_embedding_reader(const ExchangePtr& exchange, StreamGroup& group,
                                                    EmbeddingPlan plan);

// Scales to length 1; a vector of zeros is unchanged.
void normalise(std::vector<float>& vector);
// Of the little-endian float32 numbers.
std::string base64_of(const std::vector<float>& vector);

}  // namespace quire
