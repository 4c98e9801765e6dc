// Sequences of tokens that an answer must not contain: a token is impossible where it would complete one of them.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "decoding/sampling_params.h"

namespace quire {

// Of one sequence. The time for a token grows with the length of all words together.
class BadWords {
 public:
  // Words without a token are left out. `words` may be null.
  explicit BadWords(std::shared_ptr<const TokenSequences> words);

  bool empty() const { return longest_ == 0; }
  // The next token of the answer.
  void accept(int32_t id);
  // Sets the logits of tokens that may not follow to -infinity.
  void forbid(std::span<float> logits) const;

 private:
  std::shared_ptr<const TokenSequences> words_;
  size_t longest_ = 0;
  std::vector<int32_t> last_;  // tokens of the answer: the last longest_ - 1 or more
};

}  // namespace quire
