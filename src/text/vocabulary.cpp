#include "text/vocabulary.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <functional>

#include "base/error.h"

namespace quire {

void Vocabulary::add(std::string_view piece, int32_t id) {
  if (id < 0 || id >= kMaxVocabularySize) {
    fail(ErrorCode::kCorrupt, "token \"{}\" has id {}; ids are 0 to {}", printable(piece), id, kMaxVocabularySize - 1);
  }
  if (id >= size()) {
    pieces_.resize(static_cast<size_t>(id) + 1);
    present_.resize(pieces_.size());
  }
  if (present_[id]) {
    if (pieces_[id] == piece) return;
    fail(ErrorCode::kCorrupt, "id {} is both \"{}\" and \"{}\"", id, printable(pieces_[id]), printable(piece));
  }
  pieces_[id] = piece;
  present_[id] = true;
  longest_piece_ = std::max(longest_piece_, piece.size());
  if (2 * (num_indexed_ + 1) > entries_.size()) grow();
  int32_t& entry = entries_[entry_of(piece)];
  if (entry != kNoToken) return;
  entry = id;
  ++num_indexed_;
}

int32_t Vocabulary::find(std::string_view piece) const {
  return entries_.empty() || piece.size() > longest_piece_ ? kNoToken : entries_[entry_of(piece)];
}

size_t Vocabulary::entry_of(std::string_view piece) const {
  const size_t mask = entries_.size() - 1;
  size_t entry = std::hash<std::string_view>{}(piece)&mask;
  while (entries_[entry] != kNoToken && pieces_[entries_[entry]] != piece) entry = (entry + 1) & mask;
  return entry;
}

void Vocabulary::grow() {
  const std::vector<int32_t> old = std::move(entries_);
  entries_.assign(std::max<size_t>(64, old.size() * 2), kNoToken);
  for (const int32_t id : old) {
    if (id != kNoToken) entries_[entry_of(pieces_[id])] = id;
  }
}

std::string byte_piece(uint8_t byte) { return fmt::format("<0x{:02X}>", byte); }

std::optional<uint8_t> parse_byte_piece(std::string_view piece) {
  if (piece.size() != 6 || !piece.starts_with("<0x") || piece[5] != '>') return std::nullopt;
  uint8_t byte = 0;
  const auto [end, error] = std::from_chars(piece.data() + 3, piece.data() + 5, byte, 16);
  if (error != std::errc() || end != piece.data() + 5) return std::nullopt;
  return byte;
}

}  // namespace quire
