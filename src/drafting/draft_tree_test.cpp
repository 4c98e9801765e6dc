#include "drafting/draft_tree.h"

#include <gtest/gtest.h>

namespace quire {
namespace {

TEST(DraftTree, LeavesDepthFirstWithTheLikeliestSiblingFirst) {
  DraftTree tree;
  const int32_t a = tree.add(DraftTree::kRoot, 10, 0.3f);
  const int32_t b = tree.add(DraftTree::kRoot, 20, 0.6f);
  const int32_t c = tree.add(a, 11, 0.1f);
  const int32_t d = tree.add(a, 12, 0.2f);
  const int32_t e = tree.add(b, 21, 0.5f);
  Drafts drafts;
  const std::vector<int32_t> places = tree.write(drafts);
  EXPECT_EQ(drafts.tokens, (std::vector<int32_t>{20, 21, 10, 12, 11}));
  EXPECT_EQ(drafts.parents, (std::vector<int32_t>{-1, 0, -1, 2, 2}));
  EXPECT_TRUE(is_valid(drafts));
  for (const int32_t node : {a, b, c, d, e}) {
    EXPECT_EQ(drafts.tokens[static_cast<size_t>(places[static_cast<size_t>(node)])],
              (std::vector<int32_t>{10, 20, 11, 12, 21})[static_cast<size_t>(node)]);
  }
}

TEST(DraftTree, AChildIsAddedOnce) {
  DraftTree tree;
  const int32_t a = tree.add(DraftTree::kRoot, 1, 0.1f);
  tree.add(DraftTree::kRoot, 2, 0.2f);
  EXPECT_EQ(tree.add(DraftTree::kRoot, 1, 0.9f), a);
  tree.add(a, 1, 0.5f);
  EXPECT_EQ(tree.size(), 3u);
  Drafts drafts;
  tree.write(drafts);
  EXPECT_EQ(drafts.tokens, (std::vector<int32_t>{1, 1, 2}));
}

TEST(DraftTree, AChainHasNoParents) {
  DraftTree tree;
  tree.add(tree.add(tree.add(DraftTree::kRoot, 5, 1), 6, 1), 7, 1);
  Drafts drafts;
  drafts.tokens = {1, 2};
  drafts.parents = {-1, -1};
  tree.write(drafts);
  EXPECT_TRUE(drafts.is_chain());
  EXPECT_EQ(drafts.tokens, (std::vector<int32_t>{5, 6, 7}));
}

TEST(DraftTree, AnOrderThatIsNotDepthFirstIsNotValid) {
  const auto valid = [](std::vector<int32_t> tokens, std::vector<int32_t> parents) {
    return is_valid({.tokens = std::move(tokens), .parents = std::move(parents)});
  };
  EXPECT_TRUE(valid({}, {}));
  EXPECT_TRUE(valid({1, 1, 1}, {}));
  EXPECT_TRUE(valid({1, 2, 3, 4}, {-1, 0, 0, -1}));
  EXPECT_FALSE(valid({1, 2, 3, 4}, {-1, -1, 0, 1}));  // breadth first
  EXPECT_FALSE(valid({1, 2, 1}, {-1, 0, -1}));        // equal siblings
  EXPECT_FALSE(valid({1, 2}, {-1, 1}));               // its own parent
  EXPECT_FALSE(valid({1, 2}, {0, -1}));               // a parent that comes later
  EXPECT_FALSE(valid({1, 2}, {-1}));
}

}  // namespace
}  // namespace quire
