// A tree of drafts while it is built: nodes come in any order and leave in the order of drafts.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "drafting/drafts.h"

namespace quire {

class DraftTree {
 public:
  static constexpr int32_t kRoot = -1;

  // Adds a child of `parent` and returns it. Where the parent has a child with that token, returns that one; its weight
  // becomes the greater of both. Siblings leave in the order of their weights; equal ones as they came.
  int32_t add(int32_t parent, int32_t token, float weight);
  // The child of `parent` with that token, or kRoot.
  int32_t find(int32_t parent, int32_t token) const;
  size_t size() const { return nodes_.size(); }
  // Overwrites `drafts`. Returns the place there of each node.
  std::vector<int32_t> write(Drafts& drafts) const;

 private:
  struct Node {
    int32_t token = 0;
    int32_t parent = kRoot;
    float weight = 0.0f;
  };
  std::vector<Node> nodes_;
};

// Whether `drafts` is a tree in depth-first order with distinct siblings.
bool is_valid(const Drafts& drafts);

}  // namespace quire
