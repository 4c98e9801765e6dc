#include "text/detokenizer.h"

#include <algorithm>
#include <utility>

#include "text/tokenizer_parts.h"

namespace quire {

Detokenizer::Detokenizer(const Tokenizer& tokenizer, bool skip_special_tokens, std::vector<int32_t> shown)
    : tokenizer_(tokenizer),
      skip_special_tokens_(skip_special_tokens),
      shown_(std::move(shown)),
      chain_(tokenizer.parts().decoder) {}

std::string Detokenizer::push(int32_t id) {
  const TokenizerParts& parts = tokenizer_.parts();
  if (!parts.all_tokens.contains(id)) return {};
  if (skip_special_tokens_ && parts.is_special(id) && std::find(shown_.begin(), shown_.end(), id) == shown_.end()) {
    return {};
  }
  return chain_.push(parts.surface(id));
}

std::string Detokenizer::finish() { return chain_.finish(); }

}  // namespace quire
