// The splitting expressions of published byte-level vocabularies, by the names that GGUF files use for them
// ("tokenizer.ggml.pre"). To add one: a row in the table of named_pre_tokenizers.cpp.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace quire {

struct NamedPreTokenizer {
  enum Flag : unsigned {
    kNfc = 1,           // the text is normalised to NFC first
    kIgnoreMerges = 2,  // see BpeOptions
    kAddBos = 4,        // unless the file says otherwise
  };
  std::vector<std::string_view> names;
  // Applied one after the other; each splits the pieces of the one before. Matches and the text between them are
  // pieces.
  std::vector<std::string_view> expressions;
  unsigned flags = 0;

  bool has(Flag flag) const { return (flags & flag) != 0; }
};

// Throws Error kUnsupported naming the unknown name and the known ones.
const NamedPreTokenizer& find_named_pre_tokenizer(std::string_view name);
// The name of what splits by these expressions, with the same kNfc and kIgnoreMerges; empty: there is none.
std::string_view name_of_pre_tokenizer(const std::vector<std::string>& expressions, unsigned flags);

}  // namespace quire
