// What every API that generates shares: admission, then from tokens to text, and so to the events of its writer.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "server/answers/stream_group.h"
#include "server/apis/answer_writer.h"
#include "server/context.h"
#include "server/schema/api_request.h"

namespace quire {

struct Prompt {
  std::vector<int32_t> ids = {};
  std::string text = {};  // as given, for an echo
  bool is_text = false;   // otherwise an echo is decoded from the ids
  bool is_shortened = false;
};

struct GenerationPlan {
  const ServedModel* model = nullptr;
  ApiRequest request;
  std::vector<Prompt> prompts;
  int64_t max_tokens = -1;
  bool is_continuation = false;  // the text continues the prompt, no new turn begins
  bool is_conversation = false;  // the prompt is chat_prompt()'s: reasoning and calls of tools are told from content
  MakeAnswer make_answer = nullptr;
  int num_returned = 0;  // of the request's choices, the likeliest of each prompt; 0: all
  std::string path;      // of the prompts in the request, for errors
};

// Admits the prompts (stream_group.h), then answers as tokens come. Throws ApiError when nothing was admitted.
// Any thread.
void start_generation(ServerContext& context, const ExchangePtr& exchange, GenerationPlan plan);

// Reads the streams of an admitted plan: start_generation() without an engine. Choice i of prompt p has index p * n +
// i.
std::unique_ptr<StreamReader> make_generation_reader(ServerContext& context, const ExchangePtr& exchange,
                                                     StreamGroup& group, GenerationPlan plan, bool is_truncated);

}  // namespace quire
