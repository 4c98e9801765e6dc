#include "drafting/likely_tree.h"

#include <algorithm>
#include <numeric>
#include <queue>

#include "drafting/draft_tree.h"

namespace quire {

namespace {

Drafts written(std::span<const LikelyNode> nodes) {
  DraftTree tree;
  std::vector<int32_t> added;
  for (const LikelyNode& node : nodes) {
    const int32_t parent = node.parent < 0 ? DraftTree::kRoot : added[static_cast<size_t>(node.parent)];
    added.push_back(tree.add(parent, node.token, node.probability));
  }
  Drafts drafts;
  tree.write(drafts);
  return drafts;
}

}  // namespace

Drafts likeliest_tree(std::span<const std::vector<Candidate>> levels, int max_nodes) {
  // The likeliest node that is not in the tree is the next sibling or the first child of one that is.
  struct Next {
    LikelyNode node;
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
  std::vector<LikelyNode> nodes;
  push(-1, 1.0f, 0, 0);
  while (!queue.empty() && static_cast<int>(nodes.size()) < max_nodes) {
    const Next next = queue.top();
    queue.pop();
    const auto index = static_cast<int32_t>(nodes.size());
    nodes.push_back(next.node);
    push(next.node.parent, next.parent_probability, next.level, next.rank + 1);
    push(index, next.node.probability, next.level + 1, 0);
  }
  return written(nodes);
}

Drafts likeliest_of(std::span<const LikelyNode> nodes, int max_nodes) {
  std::vector<int32_t> order(nodes.size());
  std::iota(order.begin(), order.end(), 0);
  // Of equals the earlier stays, and a parent is earlier than its child.
  std::ranges::stable_sort(order, std::ranges::greater(),
                           [&](int32_t i) { return nodes[static_cast<size_t>(i)].probability; });
  order.resize(std::min(order.size(), static_cast<size_t>(max_nodes)));
  std::vector<int32_t> places(nodes.size(), -1);
  std::vector<LikelyNode> kept;
  for (const int32_t i : order) {
    LikelyNode node = nodes[static_cast<size_t>(i)];
    places[static_cast<size_t>(i)] = static_cast<int32_t>(kept.size());
    if (node.parent >= 0) node.parent = places[static_cast<size_t>(node.parent)];
    kept.push_back(node);
  }
  return written(kept);
}

}  // namespace quire
