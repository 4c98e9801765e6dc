// Mirostat (Basu et al., arXiv 2007.14966): leaves out unlikely tokens so that the surprise of the chosen ones stays
// near a target. Its state is a function of the tokens that were chosen so far.
#pragma once

#include <cstddef>
#include <cstdint>

#include "decoding/candidates.h"
#include "decoding/sampling_params.h"

namespace quire {

class Mirostat {
 public:
  explicit Mirostat(const MirostatParams& params) : params_(params), mu_(2.0 * params.tau) {}

  // Chooses one of the first `count` candidates, whose probabilities are above 0 and add up to `mass`, and takes note
  // of its surprise. `vocab_size`: how many tokens the logits have. random: in [0, 1).
  int32_t draw(LazyOrder& order, size_t count, double mass, size_t vocab_size, double random);

 private:
  size_t count_by_rank(LazyOrder& order, size_t count, size_t vocab_size) const;
  size_t count_by_surprise(LazyOrder& order, size_t count, double mass) const;

  MirostatParams params_;
  double mu_;  // the most surprise that is allowed, in bits
};

}  // namespace quire
