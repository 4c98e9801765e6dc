// Which nodes of a tree of drafts are worth a row. A node is on the path that holds with the probability of its parent
// times its own share there: the first child holds as often as the draft of a chain does at that depth, each further
// one as often in the cases that are left.
//
// Pure arithmetic.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "drafting/drafts.h"
#include "engine/draft_budget.h"

namespace quire {

// By node: the probability that it holds. That of a node is at most that of its parent.
std::vector<double> gains_of(const Drafts& tree, const AcceptanceEstimate& acceptance);
// Keeps the `count` nodes of the greatest gains, which are a tree.
void keep_likeliest(Drafts& tree, std::span<const double> gains, int64_t count);
// A step has verified the drafts; the tokens of a path from their root held. Of a tree that tells of the first
// children.
void observe_drafts(AcceptanceEstimate& acceptance, const Drafts& drafts, std::span<const int32_t> accepted);

}  // namespace quire
