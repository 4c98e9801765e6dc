// The work memory of choosing one token: as large as the vocabulary, so it belongs to a thread and is lent to whichever
// sampler runs there, not to a sequence. Nothing in it outlives a call.
#pragma once

#include <cstdint>
#include <vector>

#include "decoding/candidates.h"

namespace quire {

struct SamplerScratch {
  // Allocates everything that rows of logits of this many tokens need.
  explicit SamplerScratch(int64_t vocab_size) {
    adjusted.reserve(static_cast<size_t>(vocab_size));
    probabilities.reserve(static_cast<size_t>(vocab_size));
    candidates.reserve(static_cast<size_t>(vocab_size));
  }

  static constexpr uint64_t kBytesPerToken = 2 * sizeof(float) + sizeof(Candidate);

  std::vector<float> adjusted;        // logits after the constraint, bias and penalties
  std::vector<float> probabilities;   // relative to the likeliest token's
  std::vector<Candidate> candidates;  // never more than one per token
};

}  // namespace quire
