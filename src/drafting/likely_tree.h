// Trees of drafts by probability: which nodes are worth proposing.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "decoding/candidates.h"
#include "drafting/drafts.h"

namespace quire {

struct LikelyNode {
  int32_t token = 0;
  int32_t parent = -1;       // an earlier node; -1: the root
  float probability = 0.0f;  // of the path from the root to here
};

// The tree of at most `max_nodes` nodes with the greatest sum of probabilities when the tokens of each level do not
// depend on the path: levels[i] are those at depth i + 1, in descending order of probability.
Drafts likeliest_tree(std::span<const std::vector<Candidate>> levels, int max_nodes);

// The `max_nodes` likeliest of `nodes`. No node is likelier than its parent, so that they are a tree too.
Drafts likeliest_of(std::span<const LikelyNode> nodes, int max_nodes);

}  // namespace quire
