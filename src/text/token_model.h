// A token model turns one pre-tokenized, normalised piece of text into ids: BPE, Unigram, WordPiece ... Immutable after
// construction, any thread.
//
// Text that the vocabulary cannot represent becomes the unknown token; a model without one drops it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/vocabulary.h"

namespace quire {

class TokenModel {
 public:
  virtual ~TokenModel() = default;
  // Appends the ids of `word`, which is valid UTF-8 and not empty.
  virtual void encode(std::string_view word, std::vector<int32_t>& ids) const = 0;
  virtual int32_t unknown_id() const = 0;  // for characters that it lacks, or kNoToken
};

// Byte pair encoding with ranked merges (Sennrich et al. 2016), as the Hugging Face library runs it.
struct BpeOptions {
  struct Merge {
    std::string left, right;
  };
  std::vector<Merge> merges;  // in order of rank
  int32_t unknown_id = kNoToken;
  std::string continuing_prefix;  // written before every character but the first of a word
  std::string end_of_word;        // written after the last character of a word
  bool fuse_unknown = false;
  bool byte_fallback = false;
  bool ignore_merges = false;    // a word that is a token itself is looked up, not merged
  bool skip_bad_merges = false;  // GGUF files list merges whose result is no token; else that is Error kCorrupt
};
std::unique_ptr<TokenModel> make_bpe(const Vocabulary& vocabulary, BpeOptions options);

enum class PieceType : uint8_t { kNormal = 1, kUnknown, kControl, kUserDefined, kUnused, kByte };

// What sentencepiece's two models share: a score and a type per id.
struct ScoredPieces {
  std::vector<float> scores;
  std::vector<PieceType> types;
  int32_t unknown_id = kNoToken;
  bool byte_fallback = false;
};
// Sentencepiece's BPE: the pair whose joint piece has the best score is merged first. User-defined pieces are matched
// first and never merged; unused pieces are split again after merging.
std::unique_ptr<TokenModel> make_scored_bpe(const Vocabulary& vocabulary, ScoredPieces pieces);

// Unigram language model (Kudo 2018): the Viterbi path of the highest total score.
struct UnigramOptions {
  std::vector<double> scores;  // per id
  std::vector<PieceType> types;
  int32_t unknown_id = kNoToken;
  bool byte_fallback = false;
  // Sentencepiece adds scores in single precision, the Hugging Face library in double: they break ties differently.
  bool single_precision = false;
};
std::unique_ptr<TokenModel> make_unigram(const Vocabulary& vocabulary, UnigramOptions options);

// Greedy longest match first, of BERT; a word with an unknown part is unknown as a whole.
struct WordPieceOptions {
  int32_t unknown_id = kNoToken;
  std::string first_prefix;              // written before the first part of a word
  std::string continuing_prefix = "##";  // written before the others
  size_t max_characters_per_word = 100;
};
std::unique_ptr<TokenModel> make_wordpiece(const Vocabulary& vocabulary, WordPieceOptions options);

// A word is one token or unknown.
std::unique_ptr<TokenModel> make_word_level(const Vocabulary& vocabulary, int32_t unknown_id);

}  // namespace quire
