#include "engine/block_manager.h"

#include <algorithm>
#include <numeric>

#include "base/check.h"

namespace quire {

BlockManager::BlockManager(int64_t num_blocks) : free_(num_blocks), references_(num_blocks, 0) {
  // Lowest ids are handed out first, so that a small load touches little of the pool.
  std::iota(free_.rbegin(), free_.rend(), 0);
}

std::optional<int32_t> BlockManager::allocate() {
  if (free_.empty()) return std::nullopt;
  const int32_t block = free_.back();
  free_.pop_back();
  references_[block] = 1;
  return block;
}

void BlockManager::share(int32_t block) {
  CHECK(references_[block] > 0);
  ++references_[block];
}

void BlockManager::release(int32_t block) {
  CHECK(references_[block] > 0);
  if (--references_[block] == 0) free_.push_back(block);
}

int64_t BlockManager::num_references() const {
  return std::accumulate(references_.begin(), references_.end(), int64_t{0});
}

void BlockManager::check() const {
  std::vector<bool> is_free(references_.size(), false);
  for (const int32_t block : free_) {
    CHECK(!is_free[block]);
    CHECK(references_[block] == 0);
    is_free[block] = true;
  }
  const int64_t held = std::count_if(references_.begin(), references_.end(), [](int32_t count) { return count > 0; });
  CHECK(held + num_free() == num_total());
}

}  // namespace quire
