// The merging loop that both byte pair models share. Its state belongs to one call, so any thread may use it.
//
// Symbols are merged with a linked list and a heap of candidate pairs, so a stretch of n symbols takes O(n log n). Two
// neighbouring characters that no piece contains side by side can never be merged across: text is cut there into
// stretches, mostly single words, so that the heap fits the cache for any length of text.
#pragma once

#include <algorithm>
#include <bitset>
#include <cstdint>
#include <optional>
#include <unordered_set>
#include <vector>

#include "text/utf8.h"

namespace quire {

struct MergeSymbol {
  int32_t id;
  uint32_t begin;                    // bytes of the word that the symbol covers
  uint32_t size;                     // 0 once it has been merged into its left neighbour
  bool starts_stretch = true;        // nothing can merge it with the symbol before it
  int32_t previous = -1, next = -1;  // within the stretch, -1 at its ends
};

// Which characters stand side by side in some piece. Built once, then immutable.
class NeighbourTable {
 public:
  void add(std::string_view piece) {
    std::optional<char32_t> previous;
    for (size_t at = 0; at < piece.size();) {
      const Utf8Character character = decode_utf8(piece, at);
      if (previous) add(*previous, character.code);
      previous = character.code;
      at += character.size;
    }
  }
  bool contains(char32_t left, char32_t right) const {
    if (left < kDirect && right < kDirect) return direct_[left * kDirect + right];
    return others_.contains(key(left, right));
  }

 private:
  static constexpr size_t kDirect = 512;  // holds the byte-level alphabet
  static uint64_t key(char32_t left, char32_t right) { return (uint64_t{left} << 32) | right; }
  void add(char32_t left, char32_t right) {
    if (left < kDirect && right < kDirect) {
      direct_[left * kDirect + right] = true;
    } else {
      others_.insert(key(left, right));
    }
  }
  std::bitset<kDirect * kDirect> direct_;
  std::unordered_set<uint64_t> others_;
};

struct PairMerge {
  int32_t rank;  // lower merges first; equal ranks merge from left to right
  int32_t id;    // of the merged symbol
};

// Merges each stretch until find_merge(left, right), an optional<PairMerge>, finds nothing for any neighbours. The
// remaining symbols are those with a size above 0.
template <typename FindMerge>
void merge_symbols(std::vector<MergeSymbol>& symbols, FindMerge find_merge) {
  struct Candidate {
    int32_t rank, left, id;
    uint32_t size;                                  // of both symbols together: differs when either has changed since
    bool operator<(const Candidate& other) const {  // top of the heap: lowest rank, then leftmost
      return rank != other.rank ? rank > other.rank : left > other.left;
    }
  };
  std::vector<Candidate> heap;
  const auto offer = [&](int32_t left) {
    const int32_t right = left < 0 ? -1 : symbols[left].next;
    if (right < 0) return false;
    const std::optional<PairMerge> merge = find_merge(symbols[left], symbols[right]);
    if (merge) heap.push_back({merge->rank, left, merge->id, symbols[left].size + symbols[right].size});
    return merge.has_value();
  };

  const auto count = static_cast<int32_t>(symbols.size());
  for (int32_t begin = 0, end = 0; begin < count; begin = end) {
    for (end = begin + 1; end < count && !symbols[end].starts_stretch; ++end) {
      symbols[end - 1].next = end;
      symbols[end].previous = end - 1;
    }
    for (int32_t i = begin; i < end; ++i) offer(i);
    std::make_heap(heap.begin(), heap.end());
    while (!heap.empty()) {
      std::pop_heap(heap.begin(), heap.end());
      const Candidate best = heap.back();
      heap.pop_back();
      MergeSymbol& left = symbols[best.left];
      if (left.size == 0 || left.next < 0) continue;
      MergeSymbol& right = symbols[left.next];
      if (left.size + right.size != best.size) continue;

      left.id = best.id;
      left.size += right.size;
      left.next = right.next;
      right.size = 0;
      if (left.next >= 0) symbols[left.next].previous = best.left;
      if (offer(left.previous)) std::push_heap(heap.begin(), heap.end());
      if (offer(best.left)) std::push_heap(heap.begin(), heap.end());
    }
  }
}

}  // namespace quire
