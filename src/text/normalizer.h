// Normalisers: the first stage of the pipeline rewrites the text between added tokens. Each is a pure function, made
// once from a tokenizer's description; any thread may call it.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "text/characters.h"

namespace quire {

struct NormalizedText {
  std::string text;       // valid UTF-8
  bool at_start = false;  // its first character comes from the first character of the whole input
};

using Normalizer = std::function<void(NormalizedText&)>;

// A component of tokenizer.json. Throws Error kUnsupported naming an unknown type, kCorrupt for a bad member.
Normalizer parse_normalizer(const json::object& description, int depth = 0);

// Sentencepiece's own normaliser, see load_sentencepiece.cpp and its `NormalizerSpec`.
struct SentencePieceNormalization {
  std::string charsmap;  // precompiled_charsmap; empty: characters stay
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  bool escape_whitespaces = true;
  bool whitespace_as_suffix = false;
  std::vector<std::string> user_defined;  // pieces that pass unchanged
};
Normalizer make_sentencepiece_normalizer(SentencePieceNormalization options);

// BERT's clean-up, used by WordPiece vocabularies of GGUF files too.
struct BertNormalization {
  bool clean_text = true;
  bool handle_chinese_chars = true;
  bool strip_accents = true;
  bool lowercase = true;
};
Normalizer make_bert_normalizer(BertNormalization options);

Normalizer make_replace_normalizer(std::string from, std::string to);
Normalizer make_prepend_normalizer(std::string prefix);  // text that is empty stays empty
Normalizer make_sequence_normalizer(std::vector<Normalizer> steps);
Normalizer make_unicode_normalizer(UnicodeForm form);

constexpr std::string_view kMetaspace = "\xE2\x96\x81";  // U+2581, how sentencepiece writes a space
std::string replace_all(std::string_view text, std::string_view from, std::string_view to);

}  // namespace quire
