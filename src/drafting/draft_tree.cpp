#include "drafting/draft_tree.h"

#include <algorithm>

namespace quire {

int32_t DraftTree::find(int32_t parent, int32_t token) const {
  // A child comes after its parent; trees have some dozens of nodes.
  for (auto i = static_cast<size_t>(parent + 1); i < nodes_.size(); ++i) {
    if (nodes_[i].parent == parent && nodes_[i].token == token) return static_cast<int32_t>(i);
  }
  return kRoot;
}

int32_t DraftTree::add(int32_t parent, int32_t token, float weight) {
  if (const int32_t found = find(parent, token); found != kRoot) {
    Node& node = nodes_[static_cast<size_t>(found)];
    node.weight = std::max(node.weight, weight);
    return found;
  }
  nodes_.push_back({.token = token, .parent = parent, .weight = weight});
  return static_cast<int32_t>(nodes_.size()) - 1;
}

std::vector<int32_t> DraftTree::write(Drafts& drafts) const {
  // children[node + 1]: the least welcome first, so that a stack returns the likeliest first.
  std::vector<std::vector<int32_t>> children(nodes_.size() + 1);
  for (size_t i = nodes_.size(); i-- > 0;) {
    children[static_cast<size_t>(nodes_[i].parent + 1)].push_back(static_cast<int32_t>(i));
  }
  for (std::vector<int32_t>& siblings : children) {
    std::stable_sort(siblings.begin(), siblings.end(), [this](int32_t a, int32_t b) {
      return nodes_[static_cast<size_t>(a)].weight < nodes_[static_cast<size_t>(b)].weight;
    });
  }
  drafts.clear();
  std::vector<int32_t> places(nodes_.size());
  std::vector<int32_t> parents;
  bool is_chain = true;
  std::vector<int32_t> waiting = children[0];
  while (!waiting.empty()) {
    const auto node = static_cast<size_t>(waiting.back());
    waiting.pop_back();
    const auto place = static_cast<int32_t>(drafts.tokens.size());
    const int32_t parent = nodes_[node].parent;
    places[node] = place;
    drafts.tokens.push_back(nodes_[node].token);
    parents.push_back(parent == kRoot ? -1 : places[static_cast<size_t>(parent)]);
    is_chain &= parents.back() == place - 1;
    waiting.insert(waiting.end(), children[node + 1].begin(), children[node + 1].end());
  }
  if (!is_chain) drafts.parents = std::move(parents);
  return places;
}

bool is_valid(const Drafts& drafts) {
  if (!drafts.is_chain() && drafts.parents.size() != drafts.tokens.size()) return false;
  std::vector<int32_t> path;  // from the root to the node before
  for (size_t node = 0; node < drafts.size(); ++node) {
    const int32_t parent = drafts.parent_of(node);
    while (!path.empty() && path.back() != parent) path.pop_back();
    if (path.empty() && parent != -1) return false;
    for (size_t other = static_cast<size_t>(parent + 1); other < node; ++other) {
      if (drafts.parent_of(other) == parent && drafts.tokens[other] == drafts.tokens[node]) return false;
    }
    path.push_back(static_cast<int32_t>(node));
  }
  return true;
}

}  // namespace quire
