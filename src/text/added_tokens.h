// Added tokens: strings that become one id wherever they occur in the text, before any other stage. Built once by a
// loader, then immutable, any thread.
//
// Of several that start at one place the longest counts (leftmost-longest). Tokens marked `normalized` are searched in
// normalised text by their normalised content, the others in the raw text.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/text_span.h"
#include "text/normalizer.h"
#include "text/trie.h"
#include "text/vocabulary.h"

namespace quire {

struct AddedToken {
  int32_t id = kNoToken;
  std::string content;
  bool single_word = false;  // only where no word character stands next to it
  bool lstrip = false;       // takes the whitespace on its left with it
  bool rstrip = false;
  bool normalized = false;
  bool special = false;
};

struct TextSegment {
  size_t begin, end;
  int32_t id;  // kNoToken: text between added tokens
};

class AddedTokens {
 public:
  AddedTokens() = default;
  // `normalizer` may be empty. Of two tokens with one id the later counts.
  AddedTokens(std::vector<AddedToken> tokens, const Normalizer& normalizer);

  enum class Kind { kRaw, kNormalized };
  // Segments in order; those of added tokens may overlap through rstrip. Without `parse_special`, special tokens stay
  // text; with it, they do where a byte of the name lies in `data` (spans in order).
  std::vector<TextSegment> split(std::string_view text, Kind kind, bool parse_special,
                                 std::span<const TextSpan> data = {}) const;
  bool has_special(Kind kind) const;

  const std::vector<AddedToken>& tokens() const { return tokens_; }

 private:
  // The longest token at `at` that may be read there: a special one that reaches into `data` gives way to a shorter
  // one.
  Trie::Match find(const Trie& trie, std::string_view text, size_t at, const TextSpan& data) const;

  std::vector<AddedToken> tokens_;
  Trie raw_, normalized_;  // values: indices of tokens_
};

}  // namespace quire
