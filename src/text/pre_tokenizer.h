// Pre-tokenizers: split normalised text into pieces for the token model, and rewrite them if the vocabulary's alphabet
// requires it. Made once from a tokenizer's description; any thread may call them.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace quire {

struct PreTokenizedText {
  struct Piece {
    size_t begin, end;  // bytes of `text`, never empty
    bool at_start;      // begins where the whole input begins
  };
  std::string text;  // valid UTF-8
  std::vector<Piece> pieces;
};

using PreTokenizer = std::function<void(PreTokenizedText&)>;

// What happens to the matches of a splitting pattern.
enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

// A component of tokenizer.json. Throws Error kUnsupported naming an unknown type, kCorrupt for a bad member.
PreTokenizer parse_pre_tokenizer(const json::object& description, int depth = 0);

PreTokenizer make_split_pre_tokenizer(std::string_view expression, SplitBehavior behavior, bool invert = false);
// GPT-2's: optionally a space in front of each piece and GPT-2's expression, then bytes as printable characters.
PreTokenizer make_byte_level_pre_tokenizer(bool add_prefix_space, bool use_expression);
PreTokenizer make_bert_pre_tokenizer();
PreTokenizer make_digits_pre_tokenizer(bool individual);
PreTokenizer make_punctuation_pre_tokenizer(SplitBehavior behavior);
PreTokenizer make_sequence_pre_tokenizer(std::vector<PreTokenizer> steps);

}  // namespace quire
