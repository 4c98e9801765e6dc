#include "drafting/likely_tree.h"

#include <algorithm>
#include <numeric>
#include <queue>

namespace quire {

Drafts depth_first(std::span<const DraftNode> nodes) {
  std::vector<std::vector<int32_t>> children(nodes.size() + 1);  // of node i at i + 1
  for (size_t i = 0; i < nodes.size(); ++i) {
    children[static_cast<size_t>(nodes[i].parent + 1)].push_back(static_cast<int32_t>(i));
  }
  Drafts drafts;
  struct Open {
    int32_t node;
    int32_t parent;  // its place in the result
  };
  std::vector<Open> open;
  const auto push_children = [&](size_t of, int32_t place) {
    for (auto child = children[of].rbegin(); child != children[of].rend(); ++child) open.push_back({*child, place});
  };
  push_children(0, -1);
  while (!open.empty()) {
    const Open next = open.back();
    open.pop_back();
    const auto place = static_cast<int32_t>(drafts.tokens.size());
    drafts.tokens.push_back(nodes[static_cast<size_t>(next.node)].token);
    drafts.parents.push_back(next.parent);
    push_children(static_cast<size_t>(next.node) + 1, place);
  }
  bool is_chain = true;
  for (size_t i = 0; i < drafts.size(); ++i) is_chain = is_chain && drafts.parents[i] == static_cast<int32_t>(i) - 1;
  if (is_chain) drafts.parents.clear();
  return drafts;
}

Drafts likeliest_tree(std::span<const std::vector<Candidate>> levels, int max_nodes) {
  // The likeliest node that is not in the tree is the next sibling or the first child of one that is.
  struct Next {
    DraftNode node;
    size_t level;
    size_t rank;
    float parent_probability;
    bool operator<(const Next& other) const { return node.probability < other.node.probability; }
  };
  std::priority_queue<Next> queue;
  const auto push = [&](int32_t parent, float parent_probability, size_t level, size_t rank) {
    if (level >= levels.size() || rank >= levels[level].size()) return;
    const Candidate& token = levels[level][rank];
    queue.push({{token.id, parent, parent_probability * token.probability}, level, rank, parent_probability});
  };
  std::vector<DraftNode> nodes;
  push(-1, 1.0f, 0, 0);
  while (!queue.empty() && static_cast<int>(nodes.size()) < max_nodes) {
    const Next next = queue.top();
    queue.pop();
    const auto index = static_cast<int32_t>(nodes.size());
    nodes.push_back(next.node);
    push(next.node.parent, next.parent_probability, next.level, next.rank + 1);
    push(index, next.node.probability, next.level + 1, 0);
  }
  return depth_first(nodes);
}

Drafts prune(std::span<const DraftNode> nodes, int max_nodes) {
  std::vector<int32_t> order(nodes.size());
  std::iota(order.begin(), order.end(), 0);
  // Of equals the earlier stays, and a parent is earlier than its child.
  std::ranges::stable_sort(order, std::ranges::greater(),
                           [&](int32_t i) { return nodes[static_cast<size_t>(i)].probability; });
  order.resize(std::min(order.size(), static_cast<size_t>(max_nodes)));
  std::vector<int32_t> places(nodes.size(), -1);
  std::vector<DraftNode> kept;
  for (const int32_t i : order) {
    DraftNode node = nodes[static_cast<size_t>(i)];
    places[static_cast<size_t>(i)] = static_cast<int32_t>(kept.size());
    if (node.parent >= 0) node.parent = places[static_cast<size_t>(node.parent)];
    kept.push_back(node);
  }
  return depth_first(kept);
}

}  // namespace quire
