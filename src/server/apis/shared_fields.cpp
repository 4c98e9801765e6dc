#include "server/apis/shared_fields.h"

namespace quire::fields {

void store_max_tokens(std::string_view path, int64_t least, Out& out, const Value& value) {
  const int64_t tokens = integer(value);
  if (tokens != -1 && tokens < least) {
    refuse_value(std::string(path), fmt::format("an integer from {}, or -1 for no limit but the context", least),
                 value);
  }
  out.max_tokens = tokens;
}

void check_generation(const ApiRequest& request) {
  if (request.has_stream_options && !request.stream) {
    refuse_field("stream_options", "'stream_options' is allowed only together with \"stream\": true");
  }
  if (request.best_of && *request.best_of != request.num_choices) {
    refuse_unsupported("best_of", fmt::format("'best_of' is {} and n is {}: this server returns every choice it makes; "
                                              "leave best_of out",
                                              *request.best_of, request.num_choices));
  }
  if (!request.sampling.logprob_token_ids.empty() && !request.logprobs) {
    refuse_field("logprob_token_ids",
                 "'logprob_token_ids' is allowed only together with log probabilities; add "
                 "\"logprobs\"");
  }
  if (request.stream && request.prompt_logprobs >= 0) {
    refuse_unsupported("prompt_logprobs", "'prompt_logprobs' is not available in a stream; leave out \"stream\"");
  }
}

void check_conversation(const ApiRequest& request) {
  check_tools(request);
  if (!request.tools.empty() && request.tool_choice != ToolChoice::kNone) {
    refuse_unsupported("tools",
                       "'tools' are given: this server cannot call tools; leave them out, or give "
                       "\"tool_choice\": \"none\"");
  }
  if (request.continue_final_message && request.add_generation_prompt) {
    refuse_field("continue_final_message",
                 "'continue_final_message' contradicts add_generation_prompt; give \"add_generation_prompt\": false");
  }
}

}  // namespace quire::fields
