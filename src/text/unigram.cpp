#include <algorithm>
#include <array>
#include <limits>

#include "text/token_model.h"
#include "text/trie.h"
#include "text/utf8.h"

namespace quire {
namespace {

constexpr double kUnknownPenalty = 10.0;  // below the worst piece, in both libraries
constexpr double kUserDefinedDiscount = 0.1;

class Unigram : public TokenModel {
 public:
  Unigram(const Vocabulary& vocabulary, UnigramOptions options)
      : vocabulary_(vocabulary), options_(std::move(options)) {
    std::vector<Trie::Entry> entries;
    double worst = std::numeric_limits<double>::infinity();
    for (int32_t id = 0; id < vocabulary_.size(); ++id) {
      const PieceType type = options_.types[id];
      if (!vocabulary_.contains(id)) continue;
      if (type == PieceType::kNormal) {
        worst = std::min(worst, options_.scores[id]);
        best_score_ = std::max(best_score_, options_.scores[id]);
      }
      const bool in_text = type == PieceType::kNormal || type == PieceType::kUserDefined;
      if (in_text && !vocabulary_.text(id).empty()) entries.push_back({vocabulary_.text(id), id});
    }
    trie_ = Trie(std::move(entries));
    unknown_score_ = stored((worst == std::numeric_limits<double>::infinity() ? 0 : worst) - kUnknownPenalty);
    for (int byte = 0; byte < 256; ++byte) byte_ids_[byte] = vocabulary_.find(byte_piece(static_cast<uint8_t>(byte)));
  }

  int32_t unknown_id() const override { return options_.unknown_id; }
  void encode(std::string_view word, std::vector<int32_t>& ids) const override {
    const std::vector<Node> best = find_best_path(word);
    struct Part {
      size_t begin, end;
      bool unknown;
    };
    std::vector<Part> parts;  // from the end of the word
    for (size_t end = word.size(); end > 0; end = best[end].begin) {
      const bool unknown = best[end].id == options_.unknown_id || best[end].id == kNoToken;
      if (unknown && !parts.empty() && parts.back().unknown) {
        parts.back().begin = best[end].begin;
      } else {
        parts.push_back({best[end].begin, end, unknown});
      }
    }
    for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
      if (part->unknown) {
        write_unknown(word.substr(part->begin, part->end - part->begin), ids);
      } else {
        ids.push_back(best[part->end].id);
      }
    }
  }

 private:
  struct Node {  // the best way to reach a byte position
    double score = 0;
    uint32_t begin = kUnreached;
    int32_t id = kNoToken;
  };
  static constexpr uint32_t kUnreached = UINT32_MAX;

  double stored(double score) const { return options_.single_precision ? static_cast<float>(score) : score; }

  double score_of(int32_t id, size_t size) const {
    if (options_.types[id] != PieceType::kUserDefined) return options_.scores[id];
    return stored(static_cast<double>(size) * best_score_) - kUserDefinedDiscount;  // so that it always wins
  }

  std::vector<Node> find_best_path(std::string_view word) const {
    std::vector<Node> best(word.size() + 1);
    const auto offer = [&](size_t begin, size_t end, double score, int32_t id) {
      Node& node = best[end];
      const double rounded = stored(score);
      if (node.begin == kUnreached || rounded > node.score) node = {rounded, static_cast<uint32_t>(begin), id};
    };
    for (size_t begin = 0; begin < word.size();) {
      const size_t character_end = std::min<size_t>(begin + utf8_size(word[begin]), word.size());
      const double score = best[begin].score;
      bool has_character = false;
      int32_t node = Trie::kRoot;
      for (size_t end = begin; end < word.size();) {
        node = trie_.step(node, word[end++]);
        if (node == Trie::kNone) break;
        const int32_t id = trie_.value(node);
        if (id == Trie::kNone) continue;
        offer(begin, end, score_of(id, end - begin) + score, id);
        has_character |= end == character_end;
      }
      if (!has_character) offer(begin, character_end, unknown_score_ + score, options_.unknown_id);
      begin = character_end;
    }
    return best;
  }

  void write_unknown(std::string_view text, std::vector<int32_t>& ids) const {
    const int32_t whole = vocabulary_.find(text);  // the unknown token's own name, spelled out
    if (whole != kNoToken && options_.types[whole] == PieceType::kNormal) return ids.push_back(whole);
    if (options_.byte_fallback) {
      const bool complete = std::all_of(text.begin(), text.end(),
                                        [&](char byte) { return byte_ids_[static_cast<uint8_t>(byte)] != kNoToken; });
      if (complete) {
        for (const char byte : text) ids.push_back(byte_ids_[static_cast<uint8_t>(byte)]);
        return;
      }
    }
    if (options_.unknown_id != kNoToken) ids.push_back(options_.unknown_id);
  }

  const Vocabulary& vocabulary_;
  UnigramOptions options_;
  Trie trie_;
  double best_score_ = -std::numeric_limits<double>::infinity();
  double unknown_score_ = 0;
  std::array<int32_t, 256> byte_ids_{};
};

}  // namespace

std::unique_ptr<TokenModel> make_unigram(const Vocabulary& vocabulary, UnigramOptions options) {
  return std::make_unique<Unigram>(vocabulary, std::move(options));
}

}  // namespace quire
