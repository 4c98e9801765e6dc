// The tokens of a model by their bytes, laid out for one pass in depth-first order.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "grammar/compile.h"

namespace quire {

struct TrieNode {
  uint32_t skip;   // index of the next node that is not below this one
  int32_t token;   // the first of its tokens, or -1
  uint16_t depth;  // of the first bytes: 0
  uint8_t byte;
};

// Immutable; any thread.
class TokenTrie final : public GrammarVocabulary {
 public:
  // Tokens of at most so many characters, all of them plain: not a quote, a backslash or a control character. They may
  // follow almost anywhere within a JSON string, so they are allowed together, and only the others are walked.
  struct PlainTokens {
    int max_characters = 0;
    std::vector<uint64_t> mask = {};
    std::vector<TrieNode> others = {};
  };
  static constexpr std::array<int, 3> kPlainCharacters = {32, 16, 8};

  TokenTrie(const Tokenizer& tokenizer, int64_t vocab_size, std::span<const int32_t> eog_ids);

  size_t memory_bytes() const override;
  int64_t vocab_size() const { return vocab_size_; }
  std::span<const int32_t> eog_ids() const { return eog_ids_; }
  bool is_eog(int32_t token) const { return std::ranges::binary_search(eog_ids_, token); }
  int32_t special(std::string_view name) const;  // -1 when there is none

  std::span<const TrieNode> all() const { return all_; }
  std::span<const PlainTokens> plain() const { return plain_; }  // of kPlainCharacters
  size_t longest_token() const { return longest_token_; }        // bytes

  // Calls visit(token) for the tokens of a node with one.
  template <typename Visit>
  void for_each_token(const TrieNode& node, Visit visit) const {
    for (int32_t token = node.token; token >= 0; token = next_same_[static_cast<size_t>(token)]) visit(token);
  }
  // Bytes of a token; empty for special ones and for those without text.
  std::string_view bytes(int32_t token) const;
  // The longest token that begins `text`; its size in bytes, 0 for none. may_grow: `text` itself begins another token.
  size_t longest(std::string_view text, int32_t& token, bool& may_grow) const;

  static CharacterRanges plain_characters() { return {{0x20, 0x21}, {0x23, 0x5B}, {0x5D, 0x7E}, {0x80, 0x10FFFF}}; }

 private:
  std::vector<TrieNode> lay_out(std::span<const int32_t> tokens) const;

  int64_t vocab_size_;
  std::vector<int32_t> eog_ids_;  // sorted
  std::unordered_map<std::string, int32_t> specials_;
  std::string text_;
  std::vector<uint32_t> offsets_;   // [vocab_size + 1] into text_
  std::vector<int32_t> next_same_;  // of each token: another one with equal bytes, or -1
  std::vector<TrieNode> all_;
  std::vector<PlainTokens> plain_;
  size_t longest_token_ = 0;
  std::array<uint32_t, 257> first_bytes_ = {};  // of all_: where the nodes of each first byte begin
};

}  // namespace quire
