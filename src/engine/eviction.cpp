#include "engine/eviction.h"

#include <vector>

#include "base/error.h"

namespace quire {
namespace {

// Linked lists of blocks in order of insertion, without allocation: a block is in one list at most.
class BlockLists {
 public:
  explicit BlockLists(int64_t num_blocks) : links_(static_cast<size_t>(num_blocks)) {}

  struct List {
    int32_t oldest = -1;
    int32_t newest = -1;
  };
  void append(List& list, int32_t block) {
    Link& link = links_[static_cast<size_t>(block)];
    link = {.older = list.newest, .newer = -1};
    (list.newest >= 0 ? links_[static_cast<size_t>(list.newest)].newer : list.oldest) = block;
    list.newest = block;
  }
  void remove(List& list, int32_t block) {
    const Link& link = links_[static_cast<size_t>(block)];
    (link.older >= 0 ? links_[static_cast<size_t>(link.older)].newer : list.oldest) = link.newer;
    (link.newer >= 0 ? links_[static_cast<size_t>(link.newer)].older : list.newest) = link.older;
  }

 private:
  struct Link {
    int32_t older = -1;
    int32_t newer = -1;
  };
  std::vector<Link> links_;  // by block
};

// A block leaves the list while it is held and returns to its end afterwards, so the list is in order of the last use.
class Lru : public EvictionPolicy {
 public:
  explicit Lru(int64_t num_blocks) : lists_(num_blocks) {}
  void insert(int32_t block) override { lists_.append(list_, block); }
  void use(int32_t block) override { lists_.remove(list_, block); }
  void remove(int32_t block) override { lists_.remove(list_, block); }
  int32_t victim() const override { return list_.oldest; }

 private:
  BlockLists lists_;
  BlockLists::List list_;
};

// Two lists: blocks that were found again since they were written, and the others.
class SegmentedLru : public EvictionPolicy {
 public:
  explicit SegmentedLru(int64_t num_blocks) : lists_(num_blocks), is_used_(static_cast<size_t>(num_blocks)) {}
  void insert(int32_t block) override { lists_.append(list_of(block), block); }
  void use(int32_t block) override {
    lists_.remove(list_of(block), block);
    is_used_[static_cast<size_t>(block)] = true;
  }
  void remove(int32_t block) override {
    lists_.remove(list_of(block), block);
    is_used_[static_cast<size_t>(block)] = false;
  }
  int32_t victim() const override { return once_.oldest >= 0 ? once_.oldest : used_.oldest; }

 private:
  BlockLists::List& list_of(int32_t block) { return is_used_[static_cast<size_t>(block)] ? used_ : once_; }

  BlockLists lists_;
  std::vector<bool> is_used_;  // by block
  BlockLists::List once_;
  BlockLists::List used_;
};

}  // namespace

std::unique_ptr<EvictionPolicy> make_eviction_policy(Eviction kind, int64_t num_blocks) {
  switch (kind) {
    case Eviction::kLru: return std::make_unique<Lru>(num_blocks);
    case Eviction::kSegmented: return std::make_unique<SegmentedLru>(num_blocks);
  }
  fail(ErrorCode::kInvalidArgument, "eviction policy {} is unknown", static_cast<int>(kind));
}

}  // namespace quire
