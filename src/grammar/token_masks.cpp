#include "grammar/token_masks.h"

#include <algorithm>

namespace quire {
namespace {

constexpr size_t kStepsPerUnit = 8;  // of a walk over known sets
constexpr size_t kMaxForcedBytes = 512;
constexpr size_t kBytesBehind = 16;  // of a string that goes on behind a token

void set_bit(std::span<uint64_t> mask, int32_t token) {
  mask[static_cast<size_t>(token) / 64] |= uint64_t{1} << (token % 64);
}

}  // namespace

std::vector<int32_t> special_ids(const Grammar& grammar, const TokenTrie& trie) {
  std::vector<int32_t> ids;
  for (const std::string& name : grammar.names) ids.push_back(trie.special(name));
  return ids;
}

TokenMasks::TokenMasks(const Grammar& grammar, const TokenTrie& trie, const GrammarLimits& limits)
    : trie_(trie),
      special_ids_(special_ids(grammar, trie)),
      recognizer_(grammar, limits, [&](const std::string& name) { return trie.special(name) >= 0; }),
      plain_character_(recognizer_.regular().character(TokenTrie::plain_characters())),
      path_(trie.longest_token() + 1),
      max_bytes_(limits.max_memory_bytes) {
  count_memory();
  first_bytes_ = memory_bytes();
}

void TokenMasks::count_memory() {
  memory_bytes_.store(recognizer_.memory_bytes() + mask_bytes_ + path_.size() * sizeof(SetId),
                      std::memory_order_relaxed);
}

TokenMasks::SetId TokenMasks::after(SetId set, int32_t token) {
  const std::string_view bytes = trie_.bytes(token);
  if (bytes.empty()) {
    const auto name = std::ranges::find(special_ids_, token);
    if (name == special_ids_.end()) return Recognizer::kDead;
    return recognizer_.next_special(set, static_cast<uint32_t>(name - special_ids_.begin()));
  }
  for (const char c : bytes) set = recognizer_.next(set, static_cast<uint8_t>(c));
  return set;
}

void TokenMasks::walk(SetId set, std::span<const TrieNode> nodes, std::span<uint64_t> mask) {
  path_[0] = set;
  size_t num_steps = 0;
  for (size_t i = 0; i < nodes.size();) {
    const TrieNode& node = nodes[i];
    ++num_steps;
    const SetId next = recognizer_.next(path_[node.depth], node.byte);
    if (next == Recognizer::kDead) {
      i = node.skip;
      continue;
    }
    if (node.token >= 0) trie_.for_each_token(node, [&](int32_t token) { set_bit(mask, token); });
    path_[size_t{node.depth} + 1] = next;
    ++i;
  }
  recognizer_.count_work(num_steps / kStepsPerUnit);
}

void TokenMasks::compute(SetId set, std::span<uint64_t> mask) {
  const int allowed = recognizer_.allowed_characters(set, plain_character_, TokenTrie::kPlainCharacters[0]);
  const auto plain = std::ranges::find_if(
      trie_.plain(), [&](const TokenTrie::PlainTokens& one) { return one.max_characters <= allowed; });
  if (plain != trie_.plain().end()) {
    std::ranges::copy(plain->mask, mask.begin());
    walk(set, plain->others, mask);
  } else {
    std::ranges::fill(mask, 0);
    walk(set, trie_.all(), mask);
  }
  std::vector<uint32_t> names;
  recognizer_.specials(set, names);
  for (const uint32_t name : names) set_bit(mask, special_ids_[name]);
  if (recognizer_.is_accepting(set)) {
    for (const int32_t id : trie_.eog_ids()) set_bit(mask, id);
  }
}

void TokenMasks::keep(SetId set, std::span<const uint64_t> mask) {
  Mask kept;
  size_t count = 0;
  for (const uint64_t word : mask) count += static_cast<size_t>(__builtin_popcountll(word));
  if (count <= mask.size()) {
    kept.ids.reserve(count);
    for (size_t word = 0; word < mask.size(); ++word) {
      for (uint64_t bits = mask[word]; bits != 0; bits &= bits - 1) {
        kept.ids.push_back(static_cast<int32_t>(64 * word) + __builtin_ctzll(bits));
      }
    }
  } else {
    kept.words.assign(mask.begin(), mask.end());
  }
  mask_bytes_ += 64 + 4 * kept.ids.size() + 8 * kept.words.size();
  masks_.emplace(set, std::move(kept));
}

// Where the counts of a text are far from their end, they matter to no token: its mask is that of every such count, if
// fewer and more allow the same.
bool TokenMasks::share(SetId set, std::span<uint64_t> mask) {
  const size_t num_bytes = trie_.longest_token() + kBytesBehind;
  const SetId smaller = recognizer_.with_near_counts(set, num_bytes, RegularLanguages::CountsAs::kSmaller);
  if (smaller == set || smaller == Recognizer::kDead) return false;
  fill_mask(smaller, mask);
  std::vector<uint64_t> larger_mask = std::move(larger_mask_);
  larger_mask.resize(mask.size());
  fill_mask(recognizer_.with_near_counts(set, num_bytes, RegularLanguages::CountsAs::kLarger), larger_mask);
  const bool is_same = std::ranges::equal(mask, larger_mask);
  larger_mask_ = std::move(larger_mask);
  return is_same;
}

void TokenMasks::fill_mask(SetId set, std::span<uint64_t> mask) {
  const auto known = masks_.find(set);
  if (known == masks_.end()) {
    if (share(set, mask)) return;
    compute(set, mask);
    keep(set, mask);
  } else if (!known->second.words.empty()) {
    std::ranges::copy(known->second.words, mask.begin());
  } else {
    std::ranges::fill(mask, 0);
    for (const int32_t id : known->second.ids) set_bit(mask, id);
  }
}

size_t TokenMasks::count_fitting(SetId set, std::span<const int32_t> tokens) {
  for (size_t count = 0; count < tokens.size(); ++count) {
    const SetId next = after(set, tokens[count]);
    if (next == Recognizer::kDead) {
      return recognizer_.is_accepting(set) && trie_.is_eog(tokens[count]) ? count + 1 : count;
    }
    set = next;
  }
  return tokens.size();
}

void TokenMasks::guess(SetId set, size_t limit, std::vector<int32_t>& tokens) {
  std::vector<uint32_t> names;
  std::string forced;
  for (size_t count = 0; count < limit;) {
    forced.clear();
    SetId at = set;
    names.clear();
    while (forced.size() < kMaxForcedBytes && !recognizer_.is_accepting(at)) {
      const ByteSet live = recognizer_.live_bytes(at);
      recognizer_.specials(at, names);
      if (!names.empty() || live.count() != 1) break;
      forced += static_cast<char>(live.first());
      at = recognizer_.next(at, static_cast<uint8_t>(live.first()));
    }
    size_t taken = 0;
    for (; count < limit && taken < forced.size(); ++count) {
      int32_t token = -1;
      bool may_grow = false;
      const size_t size = trie_.longest(std::string_view(forced).substr(taken), token, may_grow);
      // A token up to the end may as well be the first part of a longer one.
      if (size == 0 || may_grow) break;
      tokens.push_back(token);
      taken += size;
    }
    if (taken < forced.size()) return;
    const bool is_forced_special =
        names.size() == 1 && !recognizer_.is_accepting(at) && recognizer_.live_bytes(at).is_empty() && count < limit;
    if (!is_forced_special) return;
    tokens.push_back(special_ids_[names[0]]);
    ++count;
    set = recognizer_.next_special(at, names[0]);
  }
}

}  // namespace quire
