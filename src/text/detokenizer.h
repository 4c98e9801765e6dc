// Text from tokens as they arrive. One object per stream, used by one thread at a time; keeps the tokenizer alive.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "text/decoder.h"
#include "text/tokenizer.h"

namespace quire {

class Detokenizer {
 public:
  // `shown`: special tokens that are text even if special tokens are skipped.
  explicit Detokenizer(const Tokenizer& tokenizer, bool skip_special_tokens = true, std::vector<int32_t> shown = {});

  // The text that is certain now. Always whole characters: the bytes of an incomplete one are held back until it is
  // complete or known to be malformed (then U+FFFD). All pushes and finish() together give Tokenizer::decode of all
  // ids. O(1) amortised.
  std::string push(int32_t id);
  // The stream ends: returns the text that is still held back.
  std::string finish();

 private:
  Tokenizer tokenizer_;
  bool skip_special_tokens_;
  std::vector<int32_t> shown_;
  DecoderChain chain_;
};

}  // namespace quire
