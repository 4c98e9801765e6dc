#include <algorithm>
#include <array>
#include <cmath>

#include "base/error.h"
#include "text/merge_symbols.h"
#include "text/token_model.h"
#include "text/trie.h"
#include "text/utf8.h"

namespace quire {
namespace {

constexpr int32_t kFrozen = -2;  // a user-defined piece: never merged

class ScoredBpe : public TokenModel {
 public:
  ScoredBpe(const Vocabulary& vocabulary, ScoredPieces pieces) : vocabulary_(vocabulary), pieces_(std::move(pieces)) {
    rank_pieces();
    std::vector<Trie::Entry> user_defined;
    for (int32_t id = 0; id < vocabulary_.size(); ++id) {
      if (pieces_.types[id] == PieceType::kUserDefined && !vocabulary_.text(id).empty()) {
        user_defined.push_back({vocabulary_.text(id), id});
      }
      if (pieces_.types[id] == PieceType::kUnused) has_unused_ = true;
      neighbours_.add(vocabulary_.text(id));
    }
    user_defined_ = Trie(std::move(user_defined));
    for (int byte = 0; byte < 256; ++byte) byte_ids_[byte] = vocabulary_.find(byte_piece(static_cast<uint8_t>(byte)));
  }

  int32_t unknown_id() const override { return pieces_.unknown_id; }
  void encode(std::string_view word, std::vector<int32_t>& ids) const override {
    std::vector<MergeSymbol> symbols = split(word);
    UnusedParts unused;
    merge_symbols(symbols, [&](const MergeSymbol& left, const MergeSymbol& right) -> std::optional<PairMerge> {
      if (left.id == kFrozen || right.id == kFrozen) return std::nullopt;
      const int32_t id = find_normal(word.substr(left.begin, left.size + right.size));
      if (id == kNoToken) return std::nullopt;
      if (has_unused_ && pieces_.types[id] == PieceType::kUnused) unused[id] = {left.size};
      return PairMerge{ranks_[id], id};
    });
    bool after_unknown = false;
    for (const MergeSymbol& symbol : symbols) {
      if (symbol.size > 0) write(word.substr(symbol.begin, symbol.size), unused, after_unknown, ids);
    }
  }

 private:
  // For a merged piece of type "unused": the size of its left part.
  using UnusedParts = std::unordered_map<int32_t, uint32_t>;

  // Dense ranks by falling score; equal scores share a rank and merge from left to right.
  void rank_pieces() {
    std::vector<int32_t> order(vocabulary_.size());
    for (int32_t id = 0; id < vocabulary_.size(); ++id) order[id] = id;
    const auto& scores = pieces_.scores;
    std::sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return scores[a] > scores[b]; });
    ranks_.resize(order.size());
    int32_t rank = 0;
    for (size_t i = 0; i < order.size(); ++i) {
      if (i > 0 && scores[order[i]] != scores[order[i - 1]]) ++rank;
      ranks_[order[i]] = rank;
    }
  }

  int32_t find_normal(std::string_view piece) const {
    const int32_t id = vocabulary_.find(piece);
    if (id == kNoToken) return kNoToken;
    const PieceType type = pieces_.types[id];
    const bool normal = type == PieceType::kNormal || type == PieceType::kUserDefined || type == PieceType::kUnused;
    return normal ? id : kNoToken;
  }

  std::vector<MergeSymbol> split(std::string_view word) const {
    std::vector<MergeSymbol> symbols;
    symbols.reserve(word.size());
    char32_t previous = 0;
    for (size_t at = 0; at < word.size();) {
      const Trie::Match match = user_defined_.longest_match(word, at);
      const Utf8Character character = decode_utf8(word, at);
      const size_t size = match.size > 0 ? match.size : character.size;
      const bool apart = match.size > 0 || !neighbours_.contains(previous, character.code);
      symbols.push_back(
          {match.size > 0 ? kFrozen : kNoToken, static_cast<uint32_t>(at), static_cast<uint32_t>(size), apart});
      previous = character.code;
      at += size;
    }
    return symbols;
  }

  void write(std::string_view piece, const UnusedParts& unused, bool& after_unknown, std::vector<int32_t>& ids) const {
    std::vector<std::string_view> todo = {piece};
    while (!todo.empty()) {
      const std::string_view part = todo.back();
      todo.pop_back();
      const int32_t id = find_normal(part);
      if (id == kNoToken) {
        write_unknown(part, after_unknown, ids);
        continue;
      }
      const auto split_at = pieces_.types[id] == PieceType::kUnused ? unused.find(id) : unused.end();
      if (split_at == unused.end()) {
        ids.push_back(id);
        after_unknown = false;
      } else {
        todo.push_back(part.substr(split_at->second));
        todo.push_back(part.substr(0, split_at->second));
      }
    }
  }

  // A run of unknown characters is one unknown token.
  void write_unknown(std::string_view part, bool& after_unknown, std::vector<int32_t>& ids) const {
    if (pieces_.byte_fallback) {
      const bool complete = std::all_of(part.begin(), part.end(),
                                        [&](char byte) { return byte_ids_[static_cast<uint8_t>(byte)] != kNoToken; });
      if (complete) {
        for (const char byte : part) ids.push_back(byte_ids_[static_cast<uint8_t>(byte)]);
        after_unknown = false;
        return;
      }
    }
    if (pieces_.unknown_id != kNoToken && !after_unknown) ids.push_back(pieces_.unknown_id);
    after_unknown = true;
  }

  const Vocabulary& vocabulary_;
  ScoredPieces pieces_;
  std::vector<int32_t> ranks_;
  Trie user_defined_;
  NeighbourTable neighbours_;
  std::array<int32_t, 256> byte_ids_{};
  bool has_unused_ = false;
};

}  // namespace

std::unique_ptr<TokenModel> make_scored_bpe(const Vocabulary& vocabulary, ScoredPieces pieces) {
  return std::make_unique<ScoredBpe>(vocabulary, std::move(pieces));
}

}  // namespace quire
