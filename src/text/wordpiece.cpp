#include <algorithm>

#include "text/token_model.h"
#include "text/trie.h"
#include "text/utf8.h"

namespace quire {
namespace {

class WordPiece : public TokenModel {
 public:
  WordPiece(const Vocabulary& vocabulary, WordPieceOptions options) : options_(std::move(options)) {
    first_ = parts_with(vocabulary, options_.first_prefix);
    continuing_ = parts_with(vocabulary, options_.continuing_prefix);
  }

  int32_t unknown_id() const override { return options_.unknown_id; }
  void encode(std::string_view word, std::vector<int32_t>& ids) const override {
    const size_t old_size = ids.size();
    bool known = count_characters(word) <= options_.max_characters_per_word;
    for (size_t at = 0; known && at < word.size();) {
      const Trie::Match match = (at == 0 ? first_ : continuing_).longest_match(word, at);
      known = match.size > 0;
      if (known) ids.push_back(match.value);
      at += match.size;
    }
    if (known) return;
    ids.resize(old_size);
    if (options_.unknown_id != kNoToken) ids.push_back(options_.unknown_id);
  }

 private:
  static Trie parts_with(const Vocabulary& vocabulary, std::string_view prefix) {
    std::vector<Trie::Entry> entries;
    for (int32_t id = 0; id < vocabulary.size(); ++id) {
      const std::string_view piece = vocabulary.text(id);
      if (piece.size() > prefix.size() && piece.starts_with(prefix)) {
        entries.push_back({piece.substr(prefix.size()), id});
      }
    }
    return Trie(std::move(entries));
  }

  WordPieceOptions options_;
  Trie first_, continuing_;
};

class WordLevel : public TokenModel {
 public:
  WordLevel(const Vocabulary& vocabulary, int32_t unknown_id) : vocabulary_(vocabulary), unknown_id_(unknown_id) {}

  int32_t unknown_id() const override { return unknown_id_; }
  void encode(std::string_view word, std::vector<int32_t>& ids) const override {
    const int32_t id = vocabulary_.find(word);
    if (id != kNoToken) {
      ids.push_back(id);
    } else if (unknown_id_ != kNoToken) {
      ids.push_back(unknown_id_);
    }
  }

 private:
  const Vocabulary& vocabulary_;
  int32_t unknown_id_;
};

}  // namespace

std::unique_ptr<TokenModel> make_wordpiece(const Vocabulary& vocabulary, WordPieceOptions options) {
  return std::make_unique<WordPiece>(vocabulary, std::move(options));
}

std::unique_ptr<TokenModel> make_word_level(const Vocabulary& vocabulary, int32_t unknown_id) {
  return std::make_unique<WordLevel>(vocabulary, unknown_id);
}

}  // namespace quire
