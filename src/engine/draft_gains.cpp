#include "engine/draft_gains.h"

#include <algorithm>
#include <numeric>

namespace quire {

std::vector<double> gains_of(const Drafts& tree, const AcceptanceEstimate& acceptance) {
  struct Node {
    int64_t depth = 0;
    double gain = 1.0;  // that it holds
    double left = 1.0;  // that it holds and none of its children so far does
  };
  std::vector<Node> nodes(tree.size() + 1);  // the root first
  std::vector<double> gains;
  for (size_t i = 0; i < tree.size(); ++i) {
    Node& parent = nodes[static_cast<size_t>(tree.parent_of(i) + 1)];
    const double gain = parent.left * acceptance.probability(parent.depth);
    parent.left -= gain;
    nodes[i + 1] = {parent.depth + 1, gain, gain};
    gains.push_back(gain);
  }
  return gains;
}

void keep_likeliest(Drafts& tree, std::span<const double> gains, int64_t count) {
  if (count >= std::ssize(tree.tokens)) return;
  std::vector<size_t> nodes(tree.size());
  std::iota(nodes.begin(), nodes.end(), 0);
  // Of equal gains a parent comes before its child.
  std::ranges::stable_sort(nodes, [&](size_t a, size_t b) { return gains[a] > gains[b]; });
  nodes.resize(static_cast<size_t>(count));
  std::ranges::sort(nodes);
  tree.keep(nodes);
}

void observe_drafts(AcceptanceEstimate& acceptance, const Drafts& drafts, std::span<const int32_t> accepted) {
  int32_t node = -1;
  for (size_t depth = 0;; ++depth) {
    const auto child = static_cast<size_t>(node + 1);  // the first one follows its parent
    if (child >= drafts.size() || drafts.parent_of(child) != node) return;
    const bool goes_on = depth < accepted.size();
    acceptance.observe_at(static_cast<int64_t>(depth), goes_on && drafts.tokens[child] == accepted[depth]);
    if (!goes_on) return;
    node = drafts.find_child(node, accepted[depth]);
  }
}

}  // namespace quire
