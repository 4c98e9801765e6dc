// Which cached block goes when somebody needs one. A cached block is held by nobody, but its content is known and may
// be asked for again (block_manager.h).
//
// Owned by a BlockManager, one thread. Block ids are in [0, num_blocks).
#pragma once

#include <cstdint>
#include <memory>

namespace quire {

class EvictionPolicy {
 public:
  virtual ~EvictionPolicy() = default;
  virtual void insert(int32_t block) = 0;  // nobody holds it any more: it is cached
  virtual void use(int32_t block) = 0;     // a cached block was found and is held again
  virtual void remove(int32_t block) = 0;  // a cached block's content is forgotten
  virtual int32_t victim() const = 0;      // of the cached blocks the one to go first; -1 when there is none
};

enum class Eviction : uint8_t {
  kLru,        // the one that was used least recently
  kSegmented,  // first those that were never found again: prompts that come once do not push out the others
};

std::unique_ptr<EvictionPolicy> make_eviction_policy(Eviction kind, int64_t num_blocks);

}  // namespace quire
