// Logits -> one token, for one sequence.
//
// Steps in order: logit bias, penalties, minimum length; then greedy, or temperature, top-k, typical, top-p, min-p and
// a draw. One object per sequence, used by the engine thread; the i-th token of a sequence uses the i-th random number
// of its seed, so the same seed gives the same text in any company.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "decoding/sampling_params.h"
#include "kernels/kernels.h"

namespace quire {

struct TokenLogprob {
  int32_t id = 0;
  float logprob = 0.0f;  // natural logarithm, of the model's own distribution before any step
};

struct SampledToken {
  int32_t id = 0;
  float logprob = 0.0f;           // set when num_logprobs >= 0
  int32_t rank = 0;               // 0 = the model's likeliest token; set when num_logprobs >= 0
  std::vector<TokenLogprob> top;  // the num_logprobs likeliest, descending
};

// Log probability and rank of a token under a row of logits, with the `count` likeliest tokens. logits: [vocab_size].
SampledToken report_token(std::span<const float> logits, int32_t id, int count);

struct Candidate {
  int32_t id = 0;
  float logit = 0.0f;
  float probability = 0.0f;
};

class Sampler {
 public:
  // `seed` overrides params.seed when that is empty; `eog_ids` are suppressed below min_tokens.
  Sampler(SamplingParams params, uint64_t seed, std::span<const int32_t> prompt, std::vector<int32_t> eog_ids);

  // Chooses and remembers the next token. Nothing when the logits hold no finite number or a NaN: the request must
  // fail, its neighbours need not notice. logits: [vocab_size], left unchanged.
  std::optional<SampledToken> sample(std::span<const float> logits);

  // How the next token is chosen, where its logits alone decide: no bias, penalties, minimum length in force, typical-p
  // or log probabilities. A kernel table that samples then does what sample() does, and accept() is told.
  // `num_to_come`: tokens before that one which accept() has not been told yet.
  std::optional<SamplingRow> wish(int64_t num_to_come = 0) const;

  // Remembers a token that was chosen elsewhere: on a device, or before this object existed.
  void accept(int32_t id);

  int64_t num_generated() const { return num_generated_; }

 private:
  void adjust(std::vector<float>& logits) const;
  bool adjusts(int64_t num_generated) const;
  int32_t draw(float top);
  int32_t pick(double target) const;
  void collect_top_k(size_t k);
  void collect_likely(double mass);
  int32_t pick_among_candidates(double random, double mass);

  SamplingParams params_;
  uint64_t seed_;
  std::vector<int32_t> eog_ids_;
  std::unordered_set<int32_t> prompt_;
  std::unordered_map<int32_t, int32_t> counts_;  // of generated tokens
  int64_t num_generated_ = 0;
  std::vector<float> adjusted_;
  std::vector<float> probabilities_;
  std::vector<Candidate> candidates_;
};

// Keeps the most typical candidates up to mass p, at least one. Candidates in descending order of logit (ties:
// ascending id), probabilities normalised; so they leave. Exposed for its test.
void keep_typical(std::vector<Candidate>& candidates, float p);

}  // namespace quire
