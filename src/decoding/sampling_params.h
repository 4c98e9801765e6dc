// What a caller may ask of the sampler. Names and meanings follow the field (OpenAI, vLLM); docs/sampling.md lists
// them.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace quire {

// Below it sampling is greedy: logits divided by so little differ by more than float32 can tell from certainty, and
// divided by less than 3e-39 they are infinite.
inline constexpr float kMinTemperature = 1e-5f;

using TokenSequences = std::vector<std::vector<int32_t>>;

// dry.h
struct DryParams {
  float multiplier = 0.0f;      // of all penalties; 0: off
  float base = 1.75f;           // a penalty grows by this factor with each token of a repetition
  int32_t allowed_length = 2;   // repetitions that are shorter cost nothing
  int32_t penalty_last_n = -1;  // tokens of prompt and answer that are looked at; -1: all; 0: off
  // A repetition does not reach over them. Ascending, none empty; null: none.
  std::shared_ptr<const TokenSequences> breakers = {};

  bool is_on() const { return multiplier > 0.0f && penalty_last_n != 0; }
};

// xtc.h
struct XtcParams {
  float probability = 0.0f;  // of leaving out the top choices of a token; 0: off
  float threshold = 0.1f;    // the probability from which on a token is one of them; above 0.5 there never are two
};

// mirostat.h
struct MirostatParams {
  int version = 0;   // 1 or 2; 0: off
  float tau = 5.0f;  // the surprise that is wanted, in bits
  float eta = 0.1f;  // how fast the bound follows it
};

// logit_spread.h
struct DynamicTemperature {
  float range = 0.0f;  // 0: off
  float exponent = 1.0f;
};

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
  // Reported instead of the likeliest tokens, where log probabilities are; empty: the likeliest.
  std::vector<int32_t> logprob_token_ids;
  std::shared_ptr<const std::vector<int32_t>> allowed_token_ids;  // no other token is possible; null: all are
  std::shared_ptr<const TokenSequences> bad_words;                // what the answer must not contain; null: nothing
  DryParams dry;
  float top_n_sigma = 0.0f;  // keep tokens within n standard deviations of the greatest logit; 0 or less: all
  DynamicTemperature dynatemp;
  MirostatParams mirostat;  // on: the steps from top-k to XTC do not apply
  XtcParams xtc;

  bool is_greedy() const { return !(temperature >= kMinTemperature); }

  // Throws Error kInvalidArgument naming the field, its value and the allowed range.
  void validate(int64_t vocab_size) const;
};

}  // namespace quire
