// A guess at the tokens that follow a sequence's last token: a tree whose root is that token.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace quire {

struct Drafts {
  std::vector<int32_t> tokens;
  // Node i follows node parents[i], or the root at -1. Empty: a chain, each node follows the one before it. Nodes stand
  // in depth-first order: the parent of node i is node i - 1 or one that node i - 1 descends from (or the root), so
  // that the first nodes of a tree are a tree. Children of one node are distinct tokens, the likeliest first.
  std::vector<int32_t> parents;

  size_t size() const { return tokens.size(); }
  bool empty() const { return tokens.empty(); }
  bool is_chain() const { return parents.empty(); }
  int32_t parent_of(size_t node) const { return parents.empty() ? static_cast<int32_t>(node) - 1 : parents[node]; }
  void clear() {
    tokens.clear();
    parents.clear();
  }
};

}  // namespace quire
