// A byte trie: finds which of many keys start at a place in a text, in time linear in the longest key. Immutable after
// construction, any thread.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

namespace quire {

class Trie {
 public:
  struct Entry {
    std::string_view key;  // not empty; needed only during construction
    int32_t value;         // >= 0
  };
  static constexpr int32_t kRoot = 0;
  static constexpr int32_t kNone = -1;

  // Of entries with the same key the first one counts.
  explicit Trie(std::vector<Entry> entries = {});

  // The node behind `byte`, or kNone.
  int32_t step(int32_t node, char byte) const;
  // The value of the key that ends at this node, or kNone.
  int32_t value(int32_t node) const { return nodes_[node].value; }

  struct Match {
    size_t size = 0;  // 0: no key starts here
    int32_t value = kNone;
  };
  Match longest_match(std::string_view text, size_t at) const;

 private:
  struct Node {
    int32_t first_child = 0;
    int32_t value = kNone;
    uint16_t num_children = 0;
    uint8_t label = 0;
  };
  std::vector<Node> nodes_;             // the children of a node lie together, ordered by label
  std::array<int32_t, 256> from_root_;  // most lookups end here
};

}  // namespace quire
