#include "text/charsmap.h"

#include <algorithm>

#include "base/error.h"
#include "text/utf8.h"

namespace quire {
namespace {

constexpr size_t kMaxReplacementBytes = 255;  // the longest of NFKC has 33

uint32_t read_u32(std::string_view bytes, size_t at) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) value |= uint32_t{static_cast<uint8_t>(bytes[at + i])} << (8 * i);
  return value;
}

// Fields of one unit, as darts.h of Darts-clone describes them.
bool has_leaf(uint32_t unit) { return ((unit >> 8) & 1) != 0; }
uint32_t leaf_value(uint32_t unit) { return unit & 0x7FFFFFFFu; }
uint32_t label(uint32_t unit) { return unit & 0x800000FFu; }
uint32_t offset(uint32_t unit) { return (unit >> 10) << ((unit & (1u << 9)) >> 6); }

}  // namespace

Charsmap::Charsmap(std::string_view blob) {
  if (blob.size() < 4) fail(ErrorCode::kCorrupt, "character map of {} bytes", blob.size());
  const uint32_t trie_bytes = read_u32(blob, 0);
  if (trie_bytes % 4 != 0 || trie_bytes > blob.size() - 4) {
    fail(ErrorCode::kCorrupt, "character map of {} bytes says that its trie has {}", blob.size(), trie_bytes);
  }
  for (size_t at = 4; at < 4 + size_t{trie_bytes}; at += 4) units_.push_back(read_u32(blob, at));
  replacements_ = blob.substr(4 + trie_bytes);
  for (size_t at = 0; at < replacements_.size();) {
    const size_t end = std::min(replacements_.find('\0', at), replacements_.size());
    if (end - at > kMaxReplacementBytes)
      fail(ErrorCode::kCorrupt, "character map with a replacement of {} bytes", end - at);
    at = end + 1;
  }
  if (!is_valid_utf8(replacements_)) fail(ErrorCode::kCorrupt, "character map with replacements that are not UTF-8");
}

std::optional<Charsmap::Match> Charsmap::find(std::string_view text, Prefer prefer) const {
  std::optional<Match> match;
  if (units_.empty()) return match;
  uint32_t node = offset(units_[0]);
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<uint8_t>(text[i]);
    node ^= byte;
    if (byte == 0 || node >= units_.size() || label(units_[node]) != byte) break;
    const bool leaf = has_leaf(units_[node]);
    node ^= offset(units_[node]);
    if (!leaf) continue;
    const uint32_t start = node < units_.size() ? leaf_value(units_[node]) : UINT32_MAX;
    if (start > replacements_.size()) continue;
    const std::string_view rest = std::string_view(replacements_).substr(start);
    std::string_view replacement = rest.substr(0, rest.find('\0'));
    if (!is_valid_utf8(replacement)) continue;  // starts inside a character
    match = Match{i + 1, replacement};
    if (prefer == Prefer::kShortest) break;
  }
  return match;
}

}  // namespace quire
