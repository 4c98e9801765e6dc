#include "text/trie.h"

#include <algorithm>

#include "base/check.h"

namespace quire {

Trie::Trie(std::vector<Entry> entries) {
  std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.key < b.key; });
  struct Pending {
    int32_t node;
    size_t begin, end, depth;  // the entries below the node and the length of its own prefix
  };
  nodes_.emplace_back();
  std::vector<Pending> queue = {{kRoot, 0, entries.size(), 0}};
  for (size_t head = 0; head < queue.size(); ++head) {
    auto [node, begin, end, depth] = queue[head];
    for (; begin < end && entries[begin].key.size() == depth; ++begin) {
      CHECK(depth > 0 && entries[begin].value >= 0);
      if (nodes_[node].value == kNone) nodes_[node].value = entries[begin].value;
    }
    nodes_[node].first_child = static_cast<int32_t>(nodes_.size());
    while (begin < end) {
      const char label = entries[begin].key[depth];
      size_t group_end = begin + 1;
      while (group_end < end && entries[group_end].key[depth] == label) ++group_end;
      queue.push_back({static_cast<int32_t>(nodes_.size()), begin, group_end, depth + 1});
      nodes_.push_back({.label = static_cast<uint8_t>(label)});
      ++nodes_[node].num_children;
      begin = group_end;
    }
  }
  from_root_.fill(kNone);
  for (int32_t i = 0; i < nodes_[kRoot].num_children; ++i) {
    const int32_t child = nodes_[kRoot].first_child + i;
    from_root_[nodes_[child].label] = child;
  }
}

int32_t Trie::step(int32_t node, char byte) const {
  const auto label = static_cast<uint8_t>(byte);
  if (node == kRoot) return from_root_[label];
  const Node& parent = nodes_[node];
  const auto begin = nodes_.begin() + parent.first_child;
  const auto end = begin + parent.num_children;
  const auto child = std::lower_bound(begin, end, label, [](const Node& n, uint8_t l) { return n.label < l; });
  return child != end && child->label == label ? static_cast<int32_t>(child - nodes_.begin()) : kNone;
}

Trie::Match Trie::longest_match(std::string_view text, size_t at) const {
  Match match;
  int32_t node = kRoot;
  for (size_t end = at; end < text.size();) {
    node = step(node, text[end++]);
    if (node == kNone) break;
    if (value(node) != kNone) match = {end - at, value(node)};
  }
  return match;
}

}  // namespace quire
