#include "text/detokenizer.h"

#include "text/tokenizer_parts.h"

namespace quire {

Detokenizer::Detokenizer(const Tokenizer& tokenizer, bool skip_special_tokens)
    : tokenizer_(tokenizer), skip_special_tokens_(skip_special_tokens), chain_(tokenizer.parts().decoder) {}

std::string Detokenizer::push(int32_t id) {
  const TokenizerParts& parts = tokenizer_.parts();
  if (!parts.all_tokens.contains(id) || (skip_special_tokens_ && parts.is_special(id))) return {};
  return chain_.push(parts.surface(id));
}

std::string Detokenizer::finish() { return chain_.finish(); }

}  // namespace quire
