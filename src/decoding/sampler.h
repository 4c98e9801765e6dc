// Logits -> one token, for one sequence.
//
// Steps in order: allowed tokens, tokens that a constraint excludes, logit bias, penalties, DRY, bad words, minimum
// length; then greedy, or top-n-sigma, temperature and a draw by Mirostat, or top-k, typical, top-p, min-p, XTC and a
// draw. One object per sequence, which is as large as the tokens it must remember; what is as large as the vocabulary
// is lent to it by the thread it runs on. The i-th token of a sequence uses the i-th random numbers of its seed, so the
// same seed gives the same text in any company.
//
// It ends whatever the parameters and the logits are: the arithmetic keeps finite logits finite, a token at -infinity
// is never chosen, and from a row that holds a NaN or +infinity nothing is chosen.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "decoding/bad_words.h"
#include "decoding/dry.h"
#include "decoding/mirostat.h"
#include "decoding/sampler_scratch.h"
#include "decoding/sampling_params.h"
#include "decoding/token_constraint.h"
#include "decoding/token_report.h"
#include "kernels/kernels.h"

namespace quire {

// Typical acceptance of a draft (Medusa, arXiv 2401.10774, section 2.3.1): its probability is above the lower of
// `threshold` and alpha * e^-entropy.
struct TypicalAcceptance {
  float threshold = 0.09f;
  float alpha = 0.3f;
};

class Sampler {
 public:
  // `params` validated; `seed` holds where params.seed is empty; `eog_ids` are impossible below min_tokens. `prompt`
  // is not kept.
  Sampler(SamplingParams params, uint64_t seed, std::span<const int32_t> prompt, std::vector<int32_t> eog_ids);

  // Chooses and remembers the next token. Nothing when the logits hold a NaN or +infinity, or when no token is
  // possible: the request must fail, its neighbours need not notice. logits: [vocab_size], left unchanged, no more than
  // `scratch` was made for. Samplers with a scratch each may run at the same time.
  // allowed: [mask_words(vocab_size)], a token whose bit is not set is impossible, whatever its bias; empty: all may be
  // chosen. Where only end-of-generation tokens are allowed, one is chosen also below min_tokens. Log probabilities are
  // those of the model, without the constraint.
  std::optional<SampledToken> sample(std::span<const float> logits, SamplerScratch& scratch,
                                     std::span<const uint64_t> allowed = {});

  // Whether `id` is a typical draw of the next token: of the distribution after bias, penalties, minimum length and
  // temperature, before tokens are left out of it. When greedy: whether it is the token that sample() would choose.
  // Never with Mirostat, whose state follows its own draws.
  bool is_typical(std::span<const float> logits, int32_t id, const TypicalAcceptance& rule, SamplerScratch& scratch,
                  std::span<const uint64_t> allowed = {}) const;
  // Remembers `id` as the next token, and reports it as sample() does. logits: finite or -infinity, one finite.
  SampledToken take(std::span<const float> logits, int32_t id, SamplerScratch& scratch);

  // How the next token is chosen, where its logits alone decide: no bias, penalties, words to avoid, minimum length in
  // force, log probabilities, and of the steps that leave out tokens only top-k, top-p and min-p. A kernel table that
  // samples then does what sample() does, and accept() is told. `num_to_come`: tokens before that one which accept()
  // has not been told yet.
  std::optional<SamplingRow> device_sampling(int64_t num_to_come = 0) const;

  // Remembers a token that was chosen elsewhere: on a device, or before this object existed. Not with Mirostat.
  void accept(int32_t id);

  bool is_greedy() const { return params_.is_greedy(); }
  int64_t num_generated() const { return num_generated_; }

 private:
  bool has_penalties() const;
  bool adjusts(int64_t num_generated) const;
  void adjust(std::span<float> logits) const;
  void exclude_ends(std::span<float> logits) const;
  void copy_allowed(std::span<const float> logits, std::vector<float>& to) const;
  std::optional<float> prepare(std::span<const float>& logits, SamplerScratch& scratch,
                               std::span<const uint64_t> allowed) const;
  std::optional<int32_t> choose(std::span<const float> logits, float top, SamplerScratch& scratch);

  SamplingParams params_;
  uint64_t seed_;
  std::vector<int32_t> eog_ids_;
  std::vector<int32_t> prompt_;                  // its distinct tokens, ascending; empty without repetition penalty
  std::unordered_map<int32_t, int32_t> counts_;  // of generated tokens; empty without penalties
  int64_t num_generated_ = 0;
  BadWords bad_words_;
  std::optional<DryHistory> dry_;
  std::optional<Mirostat> mirostat_;
};

}  // namespace quire
