// Uses a store of KV blocks beyond the pool (kvstore/block_store.h): fetches what waiting sequences can use of it, and
// offers it what the pool publishes.
//
// A fetched block becomes a cached block like any other, so a sequence starts from it as from any cached prefix, and
// the scheduler knows nothing of stores. While its blocks are looked for and read, a sequence is not admitted
// (Sequence::awaits_blocks) and others run. It stops waiting after half the time that computing the blocks would take;
// what has arrived by then is used.
//
// Nothing here waits for the store. Blocks that it reads or writes are held meanwhile, so that nobody else gets them:
// those to write are at most an eighth of a pool, and none begins while no more than that is available. What is not
// written yet stays in the pool, and is not written at all if it is evicted.
//
// Engine thread only.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/cost_model.h"
#include "engine/kv_manager.h"
#include "engine/sequence.h"
#include "kvstore/block_store.h"

namespace quire {

class KvStoreClient {
 public:
  // The pieces of the pool that a block consists of, always in the same order.
  using Parts = std::vector<std::span<std::byte>>;
  struct Options {
    std::function<double()> now_ms;
    std::function<Parts(int group, int32_t block)> parts;
    int64_t min_blocks = 2;  // fewer than this are computed
  };
  struct Statistics {
    int64_t num_queried_tokens = 0;  // of prompts, that were looked for
    int64_t num_fetched_tokens = 0;
    int64_t num_cut = 0;      // fetches that were given up before their end
    int64_t num_dropped = 0;  // blocks that were not written, because the store was slower than the pool
    double fetch_ms = 0;      // of all fetches
  };

  // All must outlive it, the memory of the blocks too. `kv` tells it what is published.
  KvStoreClient(std::unique_ptr<BlockStore> store, KvManager& kv, const CostModel& cost, Options options);
  // Writes what is left, for two seconds at most, and waits for what the store still does with the pool's memory.
  ~KvStoreClient();
  KvStoreClient(const KvStoreClient&) = delete;
  KvStoreClient& operator=(const KvStoreClient&) = delete;

  // A sequence has come that may use the prefix cache.
  void want(Sequence& sequence);
  // It has ended.
  void forget(const Sequence& sequence);
  // Between steps, before the next one is planned: takes what the store has done and gives it more to do.
  void advance();
  // Whether a sequence waits for its blocks.
  bool is_fetching() const { return num_waiting_ > 0; }

  // Whether the store has something to do.
  bool is_busy() const { return !operations_.empty(); }

  const Statistics& statistics() const { return statistics_; }
  const BlockStore& store() const { return *store_; }

 private:
  // A block of a fetch.
  struct Wanted {
    size_t group = 0;
    int64_t index = 0;  // in the sequence's table
    int32_t block = kNoBlock;
    bool is_here = false;
  };
  struct Fetch {
    Sequence* sequence = nullptr;  // null: nobody waits for it any more
    int64_t first = 0;             // the blocks of the sequence's prefix that are looked for: [first, end)
    int64_t end = 0;
    double started_ms = 0;
    double deadline_ms = 0;
    std::vector<PrefixHash> hashes;  // [0]: of the prefix before block `first`
    std::vector<int32_t> tokens;     // of the blocks
    std::vector<Wanted> wanted;
    std::vector<std::pair<size_t, int32_t>> held;  // groups and blocks of the prefix before
    size_t num_begun = 0;                          // of `wanted`
    size_t num_pending = 0;                        // operations of the store
    bool has_failed = false;
  };
  // A published block to write.
  struct Offer {
    size_t group = 0;
    int32_t block = kNoBlock;
    PrefixHash parent;
    PrefixHash hash;
    std::vector<int32_t> tokens;
  };
  struct Operation {
    Fetch* fetch = nullptr;  // null: a write
    size_t wanted = 0;       // kFind, or the index in Fetch::wanted
    size_t group = 0;        // of a write
    int32_t block = kNoBlock;
    double began_ms = 0;
  };
  static constexpr size_t kFind = SIZE_MAX;

  void take(const BlockStore::Completion& completion);
  void found(Fetch& fetch, int64_t num_found);
  bool pays(int64_t num_blocks, double compute_ms) const;
  double compute_ms(int64_t first_block, int64_t num_blocks) const;
  int64_t spare(size_t group) const;
  bool borrow(Fetch& fetch);
  void begin_reads(Fetch& fetch);
  void finish(Fetch& fetch);
  void let_go(Fetch& fetch);
  int64_t num_here(const Fetch& fetch) const;
  void offer(const KvManager::Published& published);
  void begin_writes();

  std::unique_ptr<BlockStore> store_;
  KvManager& kv_;
  const CostModel& cost_;
  const Options options_;
  std::vector<std::unique_ptr<Fetch>> fetches_;
  std::deque<Offer> offers_;
  std::unordered_map<BlockStore::Ticket, Operation> operations_;
  std::vector<BlockStore::Completion> ended_;
  BlockStore::Ticket next_ticket_ = 1;
  int64_t num_waiting_ = 0;
  std::vector<int64_t> num_writes_;  // by group
  double ms_per_block_ = 0;          // of fetches, lately; 0: not known
  Statistics statistics_;
};

}  // namespace quire
