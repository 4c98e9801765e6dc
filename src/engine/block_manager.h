// Who holds which KV block: a free list and reference counts over integers. Knows no request and no memory.
//
// Owned by the scheduler, engine thread only. Invariant, checked by check(): free + active = total, and a block is on
// the free list exactly when nobody holds it.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace quire {

class BlockManager {
 public:
  explicit BlockManager(int64_t num_blocks);

  // A block with one holder; nothing when none is free.
  std::optional<int32_t> allocate();
  void share(int32_t block);    // one more holder
  void release(int32_t block);  // one holder less; the last one frees it
  bool is_shared(int32_t block) const { return references_[block] > 1; }

  int64_t num_total() const { return static_cast<int64_t>(references_.size()); }
  int64_t num_free() const { return static_cast<int64_t>(free_.size()); }
  int64_t num_active() const { return num_total() - num_free(); }
  int64_t num_references() const;  // over all blocks
  void check() const;

 private:
  std::vector<int32_t> free_;
  std::vector<int32_t> references_;  // per block
};

}  // namespace quire
