#include "engine/block_manager.h"

#include <algorithm>
#include <numeric>

#include "base/check.h"

namespace quire {

BlockManager::BlockManager(int64_t num_blocks, int64_t block_size, Eviction eviction)
    : block_size_(block_size),
      free_(num_blocks),
      references_(num_blocks, 0),
      content_(num_blocks),
      tokens_(num_blocks * block_size),
      eviction_(make_eviction_policy(eviction, num_blocks)) {
  // The lowest ids are allocated first, so that a small load touches little of the pool's memory.
  std::iota(free_.rbegin(), free_.rend(), 0);
  published_.reserve(static_cast<size_t>(num_blocks));
}

std::optional<int32_t> BlockManager::allocate() {
  if (free_.empty()) {
    const int32_t victim = eviction_->victim();
    if (victim < 0) return std::nullopt;
    forget(victim);
  }
  const int32_t block = free_.back();
  free_.pop_back();
  references_[block] = 1;
  return block;
}

void BlockManager::hold(int32_t block) {
  CHECK(references_[block] > 0 || is_cached(block));
  if (references_[block]++ > 0) return;
  eviction_->use(block);
  --num_cached_;
}

void BlockManager::release(int32_t block) {
  CHECK(references_[block] > 0);
  if (--references_[block] > 0) return;
  if (content_[block].is_published) {
    eviction_->insert(block);
    ++num_cached_;
  } else {
    free_.push_back(block);
  }
}

BlockState BlockManager::state(int32_t block) const {
  if (references_[block] > 1) return BlockState::kShared;
  if (references_[block] == 1) return BlockState::kActive;
  return content_[block].is_published ? BlockState::kCached : BlockState::kFree;
}

bool BlockManager::publish(int32_t block, const PrefixHash& parent, const PrefixHash& hash,
                           std::span<const int32_t> tokens) {
  CHECK(references_[block] > 0 && static_cast<int64_t>(tokens.size()) == block_size_);
  if (content_[block].is_published || !published_.emplace(hash, block).second) return false;
  content_[block].is_published = true;
  content_[block].parent = parent;
  content_[block].hash = hash;
  std::copy(tokens.begin(), tokens.end(), tokens_of(block).begin());
  return true;
}

std::optional<int32_t> BlockManager::find(const PrefixHash& parent, const PrefixHash& hash,
                                          std::span<const int32_t> tokens) const {
  const auto found = published_.find(hash);
  if (found == published_.end()) return std::nullopt;
  const int32_t block = found->second;
  const int32_t* known = tokens_.data() + block * block_size_;
  if (!(content_[block].parent == parent) || !std::equal(tokens.begin(), tokens.end(), known, known + block_size_)) {
    return std::nullopt;
  }
  return block;
}

void BlockManager::forget_cached() {
  while (num_cached_ > 0) forget(eviction_->victim());
}

void BlockManager::forget(int32_t block) {
  eviction_->remove(block);
  --num_cached_;
  published_.erase(content_[block].hash);
  content_[block].is_published = false;
  free_.push_back(block);
}

int64_t BlockManager::num_references() const {
  return std::accumulate(references_.begin(), references_.end(), int64_t{0});
}

void BlockManager::check() const {
  std::vector<bool> seen(references_.size(), false);
  for (const int32_t block : free_) {
    CHECK(!seen[block] && references_[block] == 0 && !content_[block].is_published);
    seen[block] = true;
  }
  int64_t cached = 0;
  int64_t active = 0;
  size_t published = 0;
  for (size_t block = 0; block < references_.size(); ++block) {
    const bool is_in_cache = is_cached(static_cast<int32_t>(block));
    cached += is_in_cache ? 1 : 0;
    CHECK((seen[block] || is_in_cache) == (references_[block] == 0));
    active += references_[block] > 0 ? 1 : 0;
    if (!content_[block].is_published) continue;
    ++published;
    CHECK(published_.at(content_[block].hash) == static_cast<int32_t>(block));
  }
  CHECK(cached == num_cached_ && (eviction_->victim() >= 0) == (cached > 0));
  CHECK(eviction_->victim() < 0 || is_cached(eviction_->victim()));
  CHECK(published == published_.size());
  CHECK(active + num_free() + num_cached() == num_total());
}

}  // namespace quire
