// What a caller may ask of the sampler. Names and meanings follow the field (OpenAI, vLLM); docs/sampling.md lists
// them.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace quire {

// Below it sampling is greedy: logits divided by so little differ by more than float32 can tell from certainty, and
// divided by less than 3e-39 they are infinite.
inline constexpr float kMinTemperature = 1e-5f;

struct SamplingParams {
  float temperature = 1.0f;  // below kMinTemperature: greedy (top-k to min-p then change nothing)
  int32_t top_k = 0;         // keep the k likeliest tokens; 0: all
  float top_p = 1.0f;        // keep the smallest likeliest set of at least this mass (nucleus, arXiv 1904.09751)
  float min_p = 0.0f;        // keep tokens of at least min_p x the likeliest one's probability (arXiv 2407.01082)
  float typical_p = 1.0f;    // keep the most typical set of at least this mass (arXiv 2202.00666)
  float repetition_penalty = 1.0f;  // divides positive, multiplies negative logits of seen tokens (arXiv 1909.05858)
  float presence_penalty = 0.0f;    // subtracted from the logit of every generated token
  float frequency_penalty = 0.0f;   // subtracted once per time a token was generated
  std::vector<std::pair<int32_t, float>> logit_bias;  // added to logits
  std::optional<uint64_t> seed;                       // none: drawn by the engine
  int32_t min_tokens = 0;                             // end-of-generation tokens are impossible before this many tokens
  int32_t num_logprobs = -1;  // alternatives reported per token; -1: no log probabilities at all

  bool is_greedy() const { return !(temperature >= kMinTemperature); }

  // Throws Error kInvalidArgument naming the field, its value and the allowed range.
  void validate(int64_t vocab_size) const;
};

}  // namespace quire
