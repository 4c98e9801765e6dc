// Decides which cached block is evicted when a block is needed. A cached block has no holder, but its content can still
// be found (block_manager.h).
//
// Owned by a BlockManager, one thread. Block ids are in [0, num_blocks).
#pragma once

#include <cstdint>
#include <memory>

namespace quire {

class EvictionPolicy {
 public:
  virtual ~EvictionPolicy() = default;
  virtual void insert(int32_t block) = 0;  // the block lost its last holder: it is cached now
  virtual void use(int32_t block) = 0;     // a cached block was found and has a holder again
  virtual void remove(int32_t block) = 0;  // the content of a cached block is forgotten
  virtual int32_t victim() const = 0;      // the cached block to evict first; -1 when there is none
};

enum class Eviction : uint8_t {
  kLru,        // least recently used first
  kSegmented,  // first those that were never found again: prompts that come once do not push out prefixes in use
};

std::unique_ptr<EvictionPolicy> make_eviction_policy(Eviction kind, int64_t num_blocks);

}  // namespace quire
