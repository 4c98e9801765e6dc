#include <array>
#include <span>

#include "base/error.h"
#include "text/merge_symbols.h"
#include "text/token_model.h"
#include "text/utf8.h"

namespace quire {
namespace {

constexpr size_t kNumDirect = 0x400;  // characters with a direct table; includes the byte-level alphabet

// (left id, right id) -> merge: open addressing, a power of two of entries, at most half full.
class PairTable {
 public:
  explicit PairTable(size_t num_pairs) {
    size_t num_entries = 64;
    while (num_entries < 2 * num_pairs) num_entries *= 2;
    entries_.resize(num_entries);
  }
  void add(int32_t left, int32_t right, PairMerge merge) {  // a pair listed twice keeps its later rank
    Entry& entry = entries_[find_entry(key_of(left, right))];
    entry = {key_of(left, right), merge};
  }
  std::optional<PairMerge> find(int32_t left, int32_t right) const {
    const Entry& entry = entries_[find_entry(key_of(left, right))];
    if (entry.key == kEmpty) return std::nullopt;
    return entry.merge;
  }

 private:
  static constexpr uint64_t kEmpty = UINT64_MAX;
  struct Entry {
    uint64_t key = kEmpty;
    PairMerge merge{};
  };
  static uint64_t key_of(int32_t left, int32_t right) {
    return (uint64_t{static_cast<uint32_t>(left)} << 32) | static_cast<uint32_t>(right);
  }
  size_t find_entry(uint64_t key) const {
    const size_t mask = entries_.size() - 1;
    size_t entry = ((key * 0x9E3779B97F4A7C15u) >> 24) & mask;
    while (entries_[entry].key != key && entries_[entry].key != kEmpty) entry = (entry + 1) & mask;
    return entry;
  }
  std::vector<Entry> entries_;
};

class Bpe : public TokenModel {
 public:
  Bpe(const Vocabulary& vocabulary, BpeOptions options)
      : vocabulary_(vocabulary), options_(std::move(options)), pairs_(options_.merges.size()) {
    add_merges();
    if (options_.byte_fallback) {
      for (int byte = 0; byte < 256; ++byte) byte_ids_[byte] = vocabulary_.find(byte_piece(static_cast<uint8_t>(byte)));
    }
    std::string piece;
    for (char32_t code = 0; code < kNumDirect; ++code) {
      piece.clear();
      append_utf8(piece, code);
      direct_ids_[code] = vocabulary_.find(piece);
    }
    options_.merges.clear();
  }

  int32_t unknown_id() const override { return options_.unknown_id; }
  void encode(std::string_view word, std::vector<int32_t>& ids) const override {
    if (options_.ignore_merges) {
      if (const int32_t id = vocabulary_.find(word); id != kNoToken) return ids.push_back(id);
    }
    std::vector<MergeSymbol> symbols = split(word);
    merge_symbols(symbols,
                  [&](const MergeSymbol& left, const MergeSymbol& right) { return pairs_.find(left.id, right.id); });
    for (const MergeSymbol& symbol : symbols) {
      if (symbol.size > 0) ids.push_back(symbol.id);
    }
  }

 private:
  void add_merges() {
    int32_t rank = 0;
    for (const auto& [left, right] : options_.merges) {
      const int32_t left_id = vocabulary_.find(left);
      const int32_t right_id = vocabulary_.find(right);
      const size_t prefix = std::min(options_.continuing_prefix.size(), right.size());
      const int32_t id = vocabulary_.find(left + right.substr(prefix));
      const bool bad = left_id == kNoToken || right_id == kNoToken || id == kNoToken;
      if (bad && !options_.skip_bad_merges) {
        fail(ErrorCode::kCorrupt, "merge {}, \"{}\" + \"{}\", names a token that the vocabulary lacks", rank,
             printable(left), printable(right));
      }
      if (!bad) {
        pairs_.add(left_id, right_id, {rank, id});
        neighbours_.add(vocabulary_.text(id));
      }
      ++rank;
    }
  }

  // The word's characters as symbols. Unknown ones become bytes, or the unknown token, or nothing.
  std::vector<MergeSymbol> split(std::string_view word) const {
    std::vector<MergeSymbol> symbols;
    symbols.reserve(word.size());
    std::optional<MergeSymbol> unknown;  // appended late, so that neighbours can join it
    const auto flush = [&] {
      if (unknown) symbols.push_back(*unknown);
      unknown.reset();
    };
    std::string decorated;
    char32_t previous = 0;
    bool after_known = false;  // neighbours_ is checked only between two known characters
    for_each_character(word, [&](char32_t code, size_t begin, size_t size) {
      const auto at = static_cast<uint32_t>(begin);
      const auto num_bytes = static_cast<uint32_t>(size);
      const std::string_view piece = decorate(word, begin, size, decorated);
      const int32_t id = piece.size() == size && code < kNumDirect ? direct_ids_[code] : vocabulary_.find(piece);
      if (id != kNoToken) {
        flush();
        symbols.push_back({id, at, num_bytes, after_known && !neighbours_.contains(previous, code)});
        previous = code;
        after_known = true;
        return;
      }
      after_known = false;
      if (has_bytes(piece)) {
        // The pending unknown stays pending: it follows these bytes. The Hugging Face library does the same.
        for (const char byte : piece) symbols.push_back({byte_ids_[static_cast<uint8_t>(byte)], at, 1, false});
      } else if (options_.unknown_id != kNoToken) {
        if (unknown && options_.fuse_unknown) {
          unknown->size += num_bytes;
        } else {
          flush();
          unknown = MergeSymbol{options_.unknown_id, at, num_bytes, false};
        }
      }
    });
    flush();
    return symbols;
  }

  std::string_view decorate(std::string_view word, size_t begin, size_t size, std::string& storage) const {
    const std::string_view character = word.substr(begin, size);
    const bool prefix = begin > 0 && !options_.continuing_prefix.empty();
    const bool suffix = begin + size == word.size() && !options_.end_of_word.empty();
    if (!prefix && !suffix) return character;
    storage = prefix ? options_.continuing_prefix : std::string();
    storage += character;
    if (suffix) storage += options_.end_of_word;
    return storage;
  }

  bool has_bytes(std::string_view piece) const {
    if (!options_.byte_fallback) return false;
    for (const char byte : piece) {
      if (byte_ids_[static_cast<uint8_t>(byte)] == kNoToken) return false;
    }
    return true;
  }

  const Vocabulary& vocabulary_;
  BpeOptions options_;
  PairTable pairs_;
  NeighbourTable neighbours_;
  std::array<int32_t, 256> byte_ids_{};
  std::array<int32_t, kNumDirect> direct_ids_{};
};

}  // namespace

std::unique_ptr<TokenModel> make_bpe(const Vocabulary& vocabulary, BpeOptions options) {
  return std::make_unique<Bpe>(vocabulary, std::move(options));
}

}  // namespace quire
