#include "grammar/token_trie.h"

#include <algorithm>
#include <limits>

#include "base/check.h"
#include "base/error.h"
#include "text/utf8.h"

namespace quire {
namespace {

// Longer tokens are never allowed: depths have 16 bits.
constexpr size_t kMaxTokenBytes = std::numeric_limits<uint16_t>::max();

// The characters of a plain token; of others more than any limit.
size_t plain_length(std::string_view bytes) {
  const bool has_only_plain = std::ranges::all_of(bytes, [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte >= 0x20 && byte != '"' && byte != '\\' && byte != 0x7F;
  });
  return has_only_plain && is_valid_utf8(bytes) ? count_characters(bytes) : std::numeric_limits<size_t>::max();
}

}  // namespace

TokenTrie::TokenTrie(const Tokenizer& tokenizer, int64_t vocab_size, std::span<const int32_t> eog_ids)
    : vocab_size_(vocab_size), eog_ids_(eog_ids.begin(), eog_ids.end()) {
  std::ranges::sort(eog_ids_);
  std::erase_if(eog_ids_, [&](int32_t id) { return id < 0 || id >= vocab_size; });
  offsets_.assign(static_cast<size_t>(vocab_size) + 1, 0);
  next_same_.assign(static_cast<size_t>(vocab_size), -1);
  std::vector<int32_t> tokens;
  const auto num_known = static_cast<int32_t>(std::min<int64_t>(vocab_size, tokenizer.vocab_size()));
  for (int32_t id = 0; id < num_known; ++id) {
    const bool is_special = tokenizer.is_special(id);
    if (is_special) specials_.try_emplace(std::string(tokenizer.token_text(id)), id);
    const bool has_text = !is_special && !std::ranges::binary_search(eog_ids_, id);
    const std::string bytes = has_text ? tokenizer.token_bytes(id) : std::string();
    if (!bytes.empty() && bytes.size() <= kMaxTokenBytes) {
      text_ += bytes;
      longest_token_ = std::max(longest_token_, bytes.size());
      tokens.push_back(id);
    }
    if (text_.size() > std::numeric_limits<uint32_t>::max()) fail(ErrorCode::kLimit, "the vocabulary is too large");
    offsets_[static_cast<size_t>(id) + 1] = static_cast<uint32_t>(text_.size());
  }
  std::fill(offsets_.begin() + num_known + 1, offsets_.end(), static_cast<uint32_t>(text_.size()));
  std::ranges::sort(tokens, [&](int32_t a, int32_t b) { return bytes(a) != bytes(b) ? bytes(a) < bytes(b) : a < b; });
  // Of equal tokens the first is in the trie and leads to the others.
  std::vector<int32_t> distinct;
  for (const int32_t token : tokens) {
    if (!distinct.empty() && bytes(distinct.back()) == bytes(token)) {
      next_same_[static_cast<size_t>(token)] = next_same_[static_cast<size_t>(distinct.back())];
      next_same_[static_cast<size_t>(distinct.back())] = token;
    } else {
      distinct.push_back(token);
    }
  }
  all_ = lay_out(distinct);
  for (const int max_characters : kPlainCharacters) {
    PlainTokens& plain = plain_.emplace_back();
    plain.max_characters = max_characters;
    plain.mask.resize(mask_words(vocab_size));
    std::vector<int32_t> others;
    for (const int32_t token : distinct) {
      if (plain_length(bytes(token)) > static_cast<size_t>(max_characters)) {
        others.push_back(token);
        continue;
      }
      for (int32_t same = token; same >= 0; same = next_same_[static_cast<size_t>(same)]) {
        plain.mask[static_cast<size_t>(same) / 64] |= uint64_t{1} << (same % 64);
      }
    }
    plain.others = lay_out(others);
  }
  size_t at = 0;
  for (size_t byte = 0; byte < 256; ++byte) {
    first_bytes_[byte] = static_cast<uint32_t>(at);
    if (at < all_.size() && all_[at].byte == byte) at = all_[at].skip;
  }
  first_bytes_[256] = static_cast<uint32_t>(at);
}

// tokens: sorted by their bytes, all different.
std::vector<TrieNode> TokenTrie::lay_out(std::span<const int32_t> tokens) const {
  std::vector<TrieNode> nodes;
  std::vector<size_t> path;  // the nodes of the last token
  std::string_view last;
  const auto close = [&](size_t depth) {
    for (; path.size() > depth; path.pop_back()) nodes[path.back()].skip = static_cast<uint32_t>(nodes.size());
  };
  for (const int32_t token : tokens) {
    const std::string_view text = bytes(token);
    const auto shared = static_cast<size_t>(std::ranges::mismatch(last, text).in1 - last.begin());
    close(shared);
    for (size_t depth = shared; depth < text.size(); ++depth) {
      path.push_back(nodes.size());
      nodes.push_back({0, -1, static_cast<uint16_t>(depth), static_cast<uint8_t>(text[depth])});
    }
    nodes.back().token = token;
    last = text;
  }
  close(0);
  nodes.shrink_to_fit();
  return nodes;
}

size_t TokenTrie::memory_bytes() const {
  size_t bytes = sizeof(*this) + text_.capacity() + 4 * (offsets_.capacity() + next_same_.capacity()) +
                 sizeof(TrieNode) * all_.capacity();
  for (const PlainTokens& one : plain_) bytes += 8 * one.mask.capacity() + sizeof(TrieNode) * one.others.capacity();
  return bytes;
}

int32_t TokenTrie::special(std::string_view name) const {
  const auto found = specials_.find(std::string(name));
  return found == specials_.end() ? -1 : found->second;
}

std::string_view TokenTrie::bytes(int32_t token) const {
  if (token < 0 || token >= vocab_size_) return {};
  const uint32_t begin = offsets_[static_cast<size_t>(token)];
  return std::string_view(text_).substr(begin, offsets_[static_cast<size_t>(token) + 1] - begin);
}

size_t TokenTrie::longest(std::string_view text, int32_t& token, bool& may_grow) const {
  may_grow = false;
  if (text.empty()) return 0;
  const auto first = static_cast<uint8_t>(text[0]);
  size_t at = first_bytes_[first], end = first_bytes_[first + size_t{1}], best = 0, depth = 0;
  while (at < end && depth < text.size()) {
    const TrieNode& node = all_[at];
    if (node.byte != static_cast<uint8_t>(text[depth])) {
      at = node.skip;
      continue;
    }
    ++depth;
    if (node.token >= 0) {
      best = depth;
      token = node.token;
    }
    end = node.skip;
    ++at;
  }
  may_grow = depth == text.size() && at < end;
  return best;
}

std::shared_ptr<const GrammarVocabulary> GrammarVocabulary::make(const Tokenizer& tokenizer, int64_t vocab_size,
                                                                 std::span<const int32_t> eog_ids) {
  return std::make_shared<TokenTrie>(tokenizer, vocab_size, eog_ids);
}

}  // namespace quire
