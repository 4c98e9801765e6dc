#include "text/added_tokens.h"

#include <algorithm>
#include <unordered_map>

#include "text/characters.h"
#include "text/utf8.h"

namespace quire {
namespace {

// The character that ends right before `at`, in valid text.
Utf8Character character_before(std::string_view text, size_t at) {
  size_t begin = at - 1;
  while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) --begin;
  return decode_utf8(text, begin);
}

bool stands_alone(std::string_view text, size_t begin, size_t end) {
  if (begin > 0 && is_word(character_before(text, begin).code)) return false;
  return end == text.size() || !is_word(decode_utf8(text, end).code);
}

size_t skip_space_left(std::string_view text, size_t begin, size_t limit) {
  while (begin > limit) {
    const Utf8Character character = character_before(text, begin);
    if (!is_whitespace(character.code)) break;
    begin -= character.size;
  }
  return std::max(begin, limit);
}

size_t skip_space_right(std::string_view text, size_t end) {
  while (end < text.size()) {
    const Utf8Character character = decode_utf8(text, end);
    if (!is_whitespace(character.code)) break;
    end += character.size;
  }
  return end;
}

}  // namespace

AddedTokens::AddedTokens(std::vector<AddedToken> tokens, const Normalizer& normalizer) {
  std::unordered_map<int32_t, size_t> by_id;
  for (AddedToken& token : tokens) {
    if (token.content.empty()) continue;
    const auto [place, is_new] = by_id.emplace(token.id, tokens_.size());
    if (is_new) {
      tokens_.push_back(std::move(token));
    } else {
      tokens_[place->second] = std::move(token);
    }
  }
  std::vector<std::string> contents;
  for (const AddedToken& token : tokens_) {
    NormalizedText content{token.content, true};
    if (token.normalized && normalizer) normalizer(content);
    contents.push_back(std::move(content.text));
  }
  std::vector<Trie::Entry> raw, normalized;
  for (size_t i = 0; i < tokens_.size(); ++i) {
    if (contents[i].empty()) continue;
    (tokens_[i].normalized ? normalized : raw).push_back({contents[i], static_cast<int32_t>(i)});
  }
  raw_ = Trie(std::move(raw));
  normalized_ = Trie(std::move(normalized));
}

bool AddedTokens::has_special(Kind kind) const {
  return std::ranges::any_of(tokens_, [&](const AddedToken& token) {
    return token.special && token.normalized == (kind == Kind::kNormalized);
  });
}

Trie::Match AddedTokens::find(const Trie& trie, std::string_view text, size_t at, const TextSpan& data) const {
  const Trie::Match match = trie.longest_match(text, at);
  const bool crosses = at < data.begin && at + match.size > data.begin;
  if (!crosses || !tokens_[match.value].special) return match;
  return trie.longest_match(text.substr(0, data.begin), at);
}

std::vector<TextSegment> AddedTokens::split(std::string_view text, Kind kind, bool parse_special,
                                            std::span<const TextSpan> data) const {
  const Trie& trie = kind == Kind::kRaw ? raw_ : normalized_;
  constexpr TextSpan kNowhere{std::string_view::npos, std::string_view::npos};
  TextSpan next_data{0, 0};  // the first span that ends behind `at`
  std::vector<TextSegment> segments;
  size_t covered = 0;
  size_t space_end = 0;  // where the whitespace skipped last ends: it is not walked twice
  for (size_t at = 0; at < text.size();) {
    for (; next_data.end <= at; data = data.subspan(data.empty() ? 0 : 1)) {
      next_data = data.empty() ? kNowhere : data.front();
    }
    const Trie::Match match = find(trie, text, at, next_data);
    if (match.size == 0) {
      ++at;
      continue;
    }
    const AddedToken& token = tokens_[match.value];
    size_t begin = at;
    size_t end = at + match.size;
    const bool is_data = begin >= next_data.begin;
    at = token.special && is_data && end > next_data.end ? begin + 1 : end;
    if (token.special && (is_data || !parse_special)) continue;
    if (token.single_word && !stands_alone(text, begin, end)) continue;
    if (token.lstrip) begin = std::max(skip_space_left(text, begin, std::min(covered, begin)), covered);
    if (token.rstrip) end = space_end = end < space_end ? space_end : skip_space_right(text, end);
    if (covered < begin) segments.push_back({covered, begin, kNoToken});
    segments.push_back({begin, end, token.id});
    covered = end;
  }
  if (covered < text.size()) segments.push_back({covered, text.size(), kNoToken});
  return segments;
}

}  // namespace quire
