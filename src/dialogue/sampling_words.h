// The words that sampling steps look for (decoding/sampling_params.h), as tokens. Pure functions, any thread.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "decoding/sampling_params.h"
#include "text/tokenizer.h"

namespace quire {

// llama.cpp's and, from there, the field's.
inline const std::vector<std::string> kDefaultDryBreakers = {"\n", ":", "\"", "*"};
inline constexpr size_t kMaxDryBreakerBytes = 40;

// Each word as the tokenizer writes it at the beginning of a text and behind a space.
std::shared_ptr<const TokenSequences> bad_word_tokens(const Tokenizer& tokenizer, std::span<const std::string> words);

// The ways in which a breaker can come out of the model: a token that holds it; or one that ends with its beginning,
// and the tokens of its rest. None of the breakers is empty; they are cut after kMaxDryBreakerBytes. Takes a pass over
// the vocabulary.
std::shared_ptr<const TokenSequences> dry_breaker_tokens(const Tokenizer& tokenizer,
                                                         std::span<const std::string> breakers);

}  // namespace quire
