// Which tokens may follow in each of a recogniser's sets, kept once they were computed.
#pragma once

#include <algorithm>
#include <atomic>
#include <mutex>
#include <unordered_map>

#include "grammar/recognizer.h"
#include "grammar/token_trie.h"

namespace quire {

// The special tokens that a grammar names: their ids by Grammar::names, -1 where the vocabulary has none.
std::vector<int32_t> special_ids(const Grammar& grammar, const TokenTrie& trie);

// What choices learn together about a grammar. Members without another word are called under the lock: by use(), or
// those that learn nothing by its holders.
class TokenMasks {
 public:
  using SetId = Recognizer::SetId;
  TokenMasks(const Grammar& grammar, const TokenTrie& trie, const GrammarLimits& limits);

  std::mutex& mutex() { return mutex_; }
  // Runs `action` under the lock. Beyond `most` units of work (GrammarLimits::max_work) members throw Error kLimit.
  // What was done is taken from `left`, also then.
  template <typename Action>
  void use(size_t most, size_t& left, Action action) {
    const std::lock_guard lock(mutex_);
    recognizer_.allow_work(most);
    const struct End {
      ~End() {
        left -= std::min(left, masks.recognizer_.work());
        masks.count_memory();
      }
      TokenMasks& masks;
      size_t& left;
    } end = {*this, left};
    action();
  }
  SetId start() const { return recognizer_.start(); }
  bool is_accepting(SetId set) const { return recognizer_.is_accepting(set); }
  bool continues(SetId set) const { return recognizer_.continues(set); }

  // The set after a token, which is none of those that end a generation. Throws Error kLimit.
  SetId after(SetId set, int32_t token);
  void fill_mask(SetId set, std::span<uint64_t> mask);
  size_t count_fitting(SetId set, std::span<const int32_t> tokens);
  void guess(SetId set, size_t limit, std::vector<int32_t>& tokens);

  // Without the lock; as of the last use.
  size_t memory_bytes() const { return memory_bytes_.load(std::memory_order_relaxed); }
  // What was learnt fills half of the memory that the grammar itself leaves.
  bool is_half_full() const {
    const size_t bytes = memory_bytes();
    return bytes > first_bytes_ && 2 * bytes > max_bytes_ + first_bytes_;
  }

 private:
  struct Mask {
    std::vector<int32_t> ids = {};     // of few tokens
    std::vector<uint64_t> words = {};  // of many
  };
  void walk(SetId set, std::span<const TrieNode> nodes, std::span<uint64_t> mask);
  void compute(SetId set, std::span<uint64_t> mask);
  bool share(SetId set, std::span<uint64_t> mask);
  void keep(SetId set, std::span<const uint64_t> mask);
  void count_memory();

  const TokenTrie& trie_;
  std::vector<int32_t> special_ids_;
  std::mutex mutex_;
  Recognizer recognizer_;
  RegularLanguages::Id plain_character_;
  std::unordered_map<SetId, Mask> masks_ = {};
  std::vector<uint64_t> larger_mask_ = {};
  std::vector<SetId> path_;  // of the walk: the set before each depth
  size_t mask_bytes_ = 0;
  size_t first_bytes_ = 0, max_bytes_;  // with nothing learnt; of the limits
  std::atomic<size_t> memory_bytes_ = 0;
};

}  // namespace quire
