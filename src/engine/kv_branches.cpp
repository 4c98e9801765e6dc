// The part of the KV manager that deals with drafts. Those on the trunk of a tree get blocks of the sequence, each
// branch has its own from that of its first position on, so that it can hold other tokens than the trunk at equal
// positions.
#include <algorithm>
#include <utility>

#include "base/check.h"
#include "engine/kv_manager.h"

namespace quire {

int32_t KvState::branch_of(int32_t draft) const {
  const auto after = std::ranges::upper_bound(branches, draft, {}, &KvBranch::first_draft);
  return static_cast<int32_t>(after - branches.begin()) - 1;
}

int32_t KvState::block_of(size_t group, int64_t position, int64_t block_size, int32_t branch) const {
  const int64_t index = position / block_size;
  while (branch >= 0) {
    const KvBranch& seen = branches[static_cast<size_t>(branch)];
    const int64_t first = seen.first_position / block_size;
    if (index >= first) return seen.tables[group][static_cast<size_t>(index - first)];
    branch = seen.parent;
  }
  return tables[group][static_cast<size_t>(index)];
}

// Allocates the block of this position in every group whose table, which begins with entry first_entry, ends before it.
// False when a group has none to spare.
bool KvManager::extend_to(std::vector<BlockTable>& tables, int64_t first_entry, int64_t position,
                          int64_t num_reserved) {
  const auto num_entries = static_cast<size_t>(position / options_.block_size - first_entry + 1);
  for (size_t g = 0; g < groups_.size(); ++g) {
    if (tables[g].size() < num_entries && groups_[g].blocks.num_available() <= num_reserved) return false;
  }
  for (size_t g = 0; g < groups_.size(); ++g) {
    if (tables[g].size() < num_entries) tables[g].push_back(groups_[g].blocks.allocate().value());
  }
  return true;
}

int64_t KvManager::cover_drafts(Sequence& sequence, const DraftRoom& room) {
  const Drafts& drafts = sequence.drafts;
  std::vector<KvBranch>& branches = sequence.kv.branches;
  CHECK(branches.empty());
  const int64_t most = std::min(room.num_drafts, std::ssize(drafts.tokens));
  std::vector<int32_t> path;  // to the draft before
  int32_t draft = 0;
  for (; draft < most; ++draft) {
    const int32_t parent = drafts.parent_of(static_cast<size_t>(draft));
    while (!path.empty() && path.back() != parent) path.pop_back();
    CHECK(parent == (path.empty() ? -1 : path.back()));  // depth-first order
    const int64_t position = sequence.num_tokens() + std::ssize(path);
    if (position >= room.end) break;
    if (parent != draft - 1) {
      if (std::ssize(branches) == room.num_branches) break;
      branches.push_back({.first_draft = draft,
                          .first_position = position,
                          .parent = sequence.kv.branch_of(parent),
                          .tables = std::vector<BlockTable>(groups_.size())});
    }
    KvBranch* const branch = branches.empty() ? nullptr : &branches.back();
    const bool has_block = branch == nullptr ? extend_to(sequence.kv.tables, 0, position, room.num_reserved)
                                             : extend_to(branch->tables, branch->first_position / options_.block_size,
                                                         position, room.num_reserved);
    if (!has_block) {
      if (branch != nullptr && branch->num_drafts == 0) branches.pop_back();
      break;
    }
    if (branch != nullptr) ++branch->num_drafts;
    path.push_back(draft);
  }
  return draft;
}

void KvManager::accept_branches(Sequence& sequence, int32_t draft) {
  std::vector<KvBranch>& branches = sequence.kv.branches;
  std::vector<size_t> path;  // the last branch first
  for (int32_t i = sequence.kv.branch_of(draft); i >= 0; i = branches[static_cast<size_t>(i)].parent) {
    path.push_back(static_cast<size_t>(i));
  }
  for (; !path.empty(); path.pop_back()) {
    KvBranch& branch = branches[path.back()];
    const auto first = static_cast<size_t>(branch.first_position / options_.block_size);
    for (size_t g = 0; g < groups_.size(); ++g) {
      BlockTable& table = sequence.kv.tables[g];
      BlockTable& own = branch.tables[g];
      table.resize(std::max(table.size(), first + own.size()), kNoBlock);
      std::swap_ranges(own.begin(), own.end(), table.begin() + static_cast<int64_t>(first));
    }
  }
  release_branches(sequence);
}

void KvManager::release_branches(Sequence& sequence) {
  for (const KvBranch& branch : sequence.kv.branches) {
    for (size_t g = 0; g < groups_.size(); ++g) {
      for (const int32_t block : branch.tables[g]) {
        if (block != kNoBlock) groups_[g].blocks.release(block);
      }
    }
  }
  sequence.kv.branches.clear();
}

// Returns the number of blocks that the branches hold in the group.
int64_t KvManager::check_branches(size_t group, const Sequence& sequence) const {
  const std::vector<KvBranch>& branches = sequence.kv.branches;
  CHECK(branches.empty() || !sequence.kv.tables.empty());
  int64_t held = 0;
  int64_t end_draft = branches.empty() ? 0 : branches[0].first_draft;
  for (size_t i = 0; i < branches.size(); ++i) {
    const KvBranch& branch = branches[i];
    CHECK(branch.first_draft == end_draft && branch.num_drafts > 0 && branch.parent < static_cast<int32_t>(i));
    end_draft += branch.num_drafts;
    const BlockTable& table = branch.tables[group];
    const int64_t first = branch.first_position / options_.block_size;
    CHECK(std::ssize(table) == blocks_for(branch.first_position + branch.num_drafts) - first);
    for (const int32_t block : table) CHECK(groups_[group].blocks.num_holders(block) == 1);
    held += std::ssize(table);
  }
  CHECK(end_draft <= std::ssize(sequence.drafts.tokens));
  return held;
}

}  // namespace quire
