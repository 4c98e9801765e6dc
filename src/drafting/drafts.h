// A guess at the tokens that follow a sequence's last token: a tree whose root is that token.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace quire {

// The child of `node` (-1: the root) that is this token, or -1; `tokens` and `parents` as in Drafts.
inline int32_t find_child(std::span<const int32_t> tokens, std::span<const int32_t> parents, int32_t node,
                          int32_t token) {
  const auto first = static_cast<size_t>(node + 1);
  if (parents.empty()) return first < tokens.size() && tokens[first] == token ? node + 1 : -1;
  // In depth-first order those that descend from a node follow it at once.
  for (size_t i = first; i < tokens.size() && parents[i] >= node; ++i) {
    if (parents[i] == node && tokens[i] == token) return static_cast<int32_t>(i);
  }
  return -1;
}

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
  int32_t find_child(int32_t node, int32_t token) const { return quire::find_child(tokens, parents, node, token); }
  // The nodes on the path from the root to this one, itself included.
  int64_t depth_of(int32_t node) const {
    int64_t depth = 0;
    for (; node >= 0; node = parent_of(static_cast<size_t>(node))) ++depth;
    return depth;
  }
  // The tokens on that path.
  std::vector<int32_t> path_to(int32_t node) const {
    std::vector<int32_t> path(static_cast<size_t>(depth_of(node)));
    for (size_t i = path.size(); i > 0; --i, node = parent_of(static_cast<size_t>(node))) {
      path[i - 1] = tokens[static_cast<size_t>(node)];
    }
    return path;
  }
  // Keeps these nodes of a tree, ascending, each with its parent.
  void keep(std::span<const size_t> nodes) {
    std::vector<int32_t> places(size() + 1, -1);  // by node, the root first
    Drafts kept;
    for (const size_t node : nodes) {
      places[node + 1] = static_cast<int32_t>(kept.size());
      kept.tokens.push_back(tokens[node]);
      kept.parents.push_back(places[static_cast<size_t>(parent_of(node) + 1)]);
    }
    *this = std::move(kept);
  }
  // The first nodes of a tree are a tree.
  void keep_first(size_t count) {
    tokens.resize(count);
    if (!parents.empty()) parents.resize(count);
  }
  void clear() {
    tokens.clear();
    parents.clear();
  }
};

}  // namespace quire
