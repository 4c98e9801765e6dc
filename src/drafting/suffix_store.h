// A bounded store of earlier answers, in which equal contexts are found again: suffix automata by salt and age.
//
// An automaton cannot forget. So the answers of a salt are in several, each made of answers that came one after the
// other, and the oldest automaton of all salts leaves when the store is full. One thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "drafting/suffix_automaton.h"

namespace quire {

class SuffixStore {
 public:
  // At most `max_tokens` tokens, contexts of at most `max_context`.
  SuffixStore(int64_t max_tokens, int max_context) : max_tokens_(max_tokens), max_context_(max_context) {}

  // Of a longer answer than an automaton may hold the end is kept.
  void add(std::string_view salt, std::span<const int32_t> answer);
  // The automata of a salt, the oldest first. Valid until add().
  std::vector<const SuffixAutomaton*> find(std::string_view salt) const;

  int64_t num_tokens() const;
  size_t memory_bytes() const;

 private:
  // As many automata as this hold what is remembered of a lone salt.
  static constexpr int64_t kNumGenerations = 4;
  // An automaton without tokens takes about as much memory as this many tokens of one.
  static constexpr int64_t kTokensForNone = 16;

  struct Generation {
    std::string salt;
    SuffixAutomaton automaton;
  };
  static int64_t charge(const Generation& generation);

  int64_t max_tokens_;
  int max_context_;
  uint64_t next_age_ = 0;
  int64_t charged_ = 0;                                          // tokens
  std::map<uint64_t, Generation> generations_;                   // by age, the oldest first
  std::unordered_map<std::string, std::vector<uint64_t>> ages_;  // by salt, ascending; none is empty
};

}  // namespace quire
