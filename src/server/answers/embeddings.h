// What every API that embeds shares: admission, and from the embeddings of a list of inputs to its writer.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "server/answers/stream_group.h"
#include "server/apis/embedding_writer.h"
#include "server/apis/error_form.h"
#include "server/context.h"
#include "server/schema/api_request.h"

namespace quire {

struct EmbeddingPlan {
  const ServedModel* model = nullptr;
  std::vector<int64_t> num_tokens = {};  // of each input
  // Not empty: instead of its embedding, the log probabilities of these tokens as the one that follows an input.
  std::vector<int32_t> next_tokens = {};
  std::optional<int> dimensions = {};
  bool is_truncated = false;
  bool normalize = true;
  WriteEmbeddings write = {};
  const ErrorForm* errors = nullptr;
};

// Embeds the request's prompts. Throws ApiError when nothing was admitted. Any thread.
struct EmbeddingAnswer {
  std::string path;             // of the prompts in the request, for errors
  std::string query_path = {};  // of the first ApiRequest::num_queries of them
  const ErrorForm& errors;
  WriteEmbeddings write;
  std::optional<bool> normalize = {};  // else as the model's files say
};
void start_embeddings(ServerContext& context, const ExchangePtr& exchange, const ServedModel& model,
                      const ApiRequest& request, const EmbeddingAnswer& answer);

std::unique_ptr<StreamReader> make_embedding_reader(const ExchangePtr& exchange, StreamGroup& group,
                                                    EmbeddingPlan plan);

// Scales to length 1; a vector of zeros is unchanged.
void normalise(std::vector<float>& vector);

}  // namespace quire
