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

namespace {

// What a search does not heed, or cannot tell before its end.
void check_beam_search(const ApiRequest& request) {
  const auto refuse = [](const char* field, bool is_given) {
    if (!is_given) return;
    refuse_unsupported(field, fmt::format("'{}' cannot be combined with use_beam_search; leave it out", field));
  };
  const SamplingParams& sampling = request.sampling;
  refuse("stream", request.stream);
  refuse("best_of", request.best_of && *request.best_of != request.num_choices);
  refuse("prompt_logprobs", request.prompt_logprobs >= 0);
  refuse("echo", request.echo && request.logprobs);
  refuse("logit_bias", !sampling.logit_bias.empty());
  refuse("allowed_token_ids", sampling.allowed_token_ids != nullptr);
  refuse("logprob_token_ids", !sampling.logprob_token_ids.empty());
  refuse("bad_words", !request.bad_words.empty());
  refuse("min_tokens", sampling.min_tokens > 0);
  refuse("prediction", !request.prediction.empty());
  refuse("max_tokens", request.max_tokens == 0);
  refuse(request.grammar_path.c_str(), request.grammar.has_value());
  if (request.beam_width && *request.beam_width < request.num_choices) {
    refuse_field("beam_width", fmt::format("'beam_width' is {}, fewer than the {} choices of 'n'", *request.beam_width,
                                           request.num_choices));
  }
}

}  // namespace

void check_generation(const ApiRequest& request) {
  if (request.has_stream_options && !request.stream) {
    refuse_field("stream_options", "'stream_options' is allowed only together with \"stream\": true");
  }
  if (request.best_of && *request.best_of < request.num_choices) {
    refuse_field("best_of", fmt::format("'best_of' is {}, fewer than the {} choices of 'n'", *request.best_of,
                                        request.num_choices));
  }
  if (request.stream && request.best_of && *request.best_of > request.num_choices) {
    refuse_unsupported("best_of",
                       "'best_of' above n is not available in a stream: the best answer is known at the end; "
                       "leave out \"stream\"");
  }
  if (request.use_beam_search) check_beam_search(request);
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
  if (request.continue_final_message && request.add_generation_prompt) {
    refuse_field("continue_final_message",
                 "'continue_final_message' contradicts add_generation_prompt; give \"add_generation_prompt\": false");
  }
}

}  // namespace quire::fields
