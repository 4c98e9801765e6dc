// What the model itself thought of a token: its log probability, its rank and the likeliest tokens beside it. Of tokens
// that were sampled, and of a prompt's.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "decoding/sampler_scratch.h"

namespace quire {

struct TokenLogprob {
  int32_t id = 0;
  float logprob = 0.0f;  // natural logarithm, of the model's own distribution before any step; -infinity: impossible
};

struct SampledToken {
  int32_t id = 0;
  float logprob = 0.0f;           // set when num_logprobs >= 0
  int32_t rank = 0;               // 0 = the model's likeliest token; set when num_logprobs >= 0
  std::vector<TokenLogprob> top;  // the num_logprobs likeliest, descending
};

// The greatest logit: NaN when one is NaN or +infinity, which no model means; -infinity when there is nothing else.
float checked_maximum(std::span<const float> logits);

// Of token `id` under a row of logits, with the `count` likeliest tokens. Nothing when the logits hold a NaN, +infinity
// or nothing finite. logits: [vocab_size], 0 <= id < vocab_size.
std::optional<SampledToken> report_token(std::span<const float> logits, int32_t id, int count, SamplerScratch& scratch);
// The same with these tokens instead of the likeliest, in descending order of their logits.
std::optional<SampledToken> report_token(std::span<const float> logits, int32_t id, std::span<const int32_t> others,
                                         SamplerScratch& scratch);

}  // namespace quire
