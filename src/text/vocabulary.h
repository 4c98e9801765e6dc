// The pieces of a vocabulary: id -> text and text -> id. Built once by a loader, then immutable, any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace quire {

constexpr int32_t kNoToken = -1;
constexpr int32_t kMaxVocabularySize = 1 << 22;

class Vocabulary {
 public:
  // Gives `id` the text `piece`. Ids may leave holes. Throws Error kCorrupt when the id is negative or too large or
  // already has another text; when two ids have the same text, find() returns the first.
  void add(std::string_view piece, int32_t id);

  int32_t find(std::string_view piece) const;  // kNoToken when absent
  std::string_view text(int32_t id) const { return contains(id) ? std::string_view(pieces_[id]) : std::string_view(); }
  // True when the id is in range and not a hole.
  bool contains(int32_t id) const { return id >= 0 && id < size() && present_[id]; }
  int32_t size() const { return static_cast<int32_t>(pieces_.size()); }  // largest id + 1
  size_t longest_piece() const { return longest_piece_; }                // bytes

 private:
  size_t entry_of(std::string_view piece) const;
  void grow();

  std::vector<std::string> pieces_;
  std::vector<bool> present_;
  std::vector<int32_t> entries_;  // open addressing, a power of two, at most half full
  size_t num_indexed_ = 0;
  size_t longest_piece_ = 0;
};

// The 256 pieces "<0x00>" ... "<0xFF>" with which byte fallback writes unknown characters.
std::string byte_piece(uint8_t byte);
std::optional<uint8_t> parse_byte_piece(std::string_view piece);

}  // namespace quire
