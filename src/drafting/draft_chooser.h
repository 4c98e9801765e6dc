// Logits of a model that drafts -> drafts, in the target's tokens.
//
// Owned by a drafter. Calls for different threads of its runner may run at the same time.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "decoding/candidates.h"
#include "decoding/sampler.h"
#include "drafting/draft_vocabulary.h"

namespace quire {

class DraftChooser {
 public:
  DraftChooser(DraftVocabulary vocabulary, float min_probability, int num_threads);

  const DraftVocabulary& vocabulary() const { return vocabulary_; }
  static uint64_t bytes_per_token() { return SamplerScratch::kBytesPerToken + sizeof(float); }  // of each thread

  // The token that `sampler` draws, which remembers it. Nothing where it can draw none, or one that the logits give
  // less than the least probability. logits: a row of the model that drafts.
  std::optional<int32_t> draw(Sampler& sampler, std::span<const float> logits, int thread);
  // The `count` likeliest tokens of at least that probability, in descending order.
  void find_likely(std::span<const float> logits, int count, std::vector<Candidate>& likely) const;

 private:
  struct ThreadRoom {
    SamplerScratch sampling;
    std::vector<float> logits;  // a row in the order of the target's tokens
  };

  DraftVocabulary vocabulary_;
  float min_probability_;
  std::vector<ThreadRoom> rooms_;
};

}  // namespace quire
