// A tier of the KV cache beyond the pool: blocks of K and V that outlive their pool, a process or a machine, found by
// what they hold. A disk file (file_store.h), a Redis (redis_store.h) and a stack of several (stacked_store.h)
// implement it.
//
// A store never makes anything wrong or late: what it does not find, cannot prove or does not bring in time is computed
// again. So nothing here throws after the store was opened; faults are outcomes, counted, and logged once.
//
// Asynchronous: begin_*() starts an operation and returns at once, without waiting for a device or a lock that is held
// while one is waited for; poll() reports those that have ended, in any order. All functions are called by one thread,
// the engine's; a store has threads of its own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "kvstore/prefix_hash.h"

namespace quire {

// Which block: that of a KV group at the end of a prefix. The hash is keyed and chained over all tokens up to the
// block's end, from a root that includes the salt (prefix_hash.h). It is only meaningful under one secret key and one
// fingerprint of the model and its cache; the store was opened with both.
struct StoredBlockId {
  PrefixHash hash;
  int32_t group = 0;
  bool operator==(const StoredBlockId&) const = default;
};

// The block with what proves it: a read ends well only when the stored block has this parent and these tokens too.
struct StoredBlock {
  StoredBlockId id;
  PrefixHash parent;                // of the prefix before the block
  std::span<const int32_t> tokens;  // of the block
};

enum class StoreOutcome : uint8_t {
  kDone,     // all bytes were read and proved, or written so that they can be found
  kMissing,  // a read: no such block
  kFailed,   // a fault of the device, the network or the content; or a bound was reached
  kRefused,  // a write: not wanted, because the block is there already or the queue is full
};

class BlockStore {
 public:
  using Ticket = uint64_t;  // chosen by the caller, unique among operations that have not ended
  struct Completion {
    Ticket ticket = 0;
    StoreOutcome outcome = StoreOutcome::kDone;
    int64_t num_found = 0;  // of begin_find
    double ms = 0.0;        // from begin_*() to its end, for the cost model
  };
  struct Statistics {
    int64_t num_blocks = 0;  // that can be found; -1: unknown
    uint64_t bytes = 0;
    uint64_t capacity_bytes = 0;  // 0: unknown
    int64_t num_read = 0;
    int64_t num_written = 0;
    int64_t num_evicted = 0;
    int64_t num_failed = 0;    // operations
    bool is_available = true;  // false while the store is given up and tried again now and then
  };

  virtual ~BlockStore() = default;

  // Counts how many of these blocks, from the first without a gap, are in the store. The ids are copied.
  virtual void begin_find(Ticket ticket, std::span<const StoredBlockId> ids) = 0;
  // Reads a block into `parts`, the pieces of a pool that it consists of, always of the same sizes in the same order
  // for a group. They must stay valid until the operation has ended, and hold anything after it failed. `block` is
  // copied.
  virtual void begin_read(Ticket ticket, const StoredBlock& block, std::span<const std::span<std::byte>> parts) = 0;
  // Writes a block. The bytes of `parts` must neither move nor change until the operation has ended.
  virtual void begin_write(Ticket ticket, const StoredBlock& block,
                           std::span<const std::span<const std::byte>> parts) = 0;
  // The caller does not need the operation any more: it ends soon, with any outcome.
  virtual void cancel(Ticket ticket) = 0;
  // Appends the operations that have ended since the last call.
  virtual void poll(std::vector<Completion>& ended) = 0;
  // Called by a thread of the store when poll() has something to report, so that an idle engine wakes.
  virtual void on_ready(std::function<void()> wake) = 0;

  virtual Statistics statistics() const = 0;
  virtual const char* name() const = 0;  // for logs and metrics: "disk", "redis"
};

}  // namespace quire
