// What a caller asks for and what comes back, token by token.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "decoding/sampler.h"
#include "decoding/sampling_params.h"

namespace quire {

struct GenerateRequest {
  std::vector<int32_t> prompt;  // token ids, at least one
  SamplingParams sampling;
  int64_t max_tokens = -1;              // generated tokens; -1: up to the context's end
  int num_choices = 1;                  // parallel samples of one prompt, which share its KV blocks
  std::vector<int32_t> eog_ids;         // end of generation, of the model
  std::vector<int32_t> stop_token_ids;  // further ones, of the caller
  bool ignore_eos = false;              // eog_ids do not stop
};

enum class FinishReason : uint8_t {
  kNone,       // not finished
  kStop,       // an end-of-generation or stop token
  kLength,     // max_tokens or the context's end
  kCancelled,  // by the caller
  kError,      // the model produced no usable number for this sequence
};

const char* name(FinishReason reason);

// Milliseconds on the engine's clock.
struct RequestTiming {
  double arrival_ms = 0.0;
  double first_scheduled_ms = 0.0;
  double first_token_ms = 0.0;
  double last_token_ms = 0.0;
};

struct OutputEvent {
  int choice = 0;
  bool has_token = false;
  bool is_stop_token = false;  // the token ended the sequence and is no part of the text
  SampledToken token;
  FinishReason finish = FinishReason::kNone;
  RequestTiming timing;  // complete in the finishing event
};

}  // namespace quire
