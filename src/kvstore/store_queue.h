// Between the engine's thread and the threads of a store: the operations that wait, run and have ended.
//
// A store's thread claims the caller's memory for the moment in which it copies from it or to it, and has it not
// otherwise. So a cancelled operation ends for the caller at once, though the device may take long to be done with it.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <unordered_map>
#include <vector>

#include "kvstore/block_store.h"

namespace quire {

struct StoreOperation {
  enum class Kind : uint8_t { kFind, kRead, kWrite };
  using Clock = std::chrono::steady_clock;

  StoreOperation(BlockStore::Ticket the_ticket, std::span<const StoredBlockId> the_ids);
  StoreOperation(BlockStore::Ticket the_ticket, const StoredBlock& block,
                 std::span<const std::span<std::byte>> destinations);
  StoreOperation(BlockStore::Ticket the_ticket, const StoredBlock& block,
                 std::span<const std::span<const std::byte>> the_sources);

  StoredBlock block() const { return {.id = ids.front(), .parent = parent, .tokens = tokens}; }
  uint64_t payload_bytes() const;
  void copy_to(std::span<std::byte> payload) const;    // a write's
  void copy_from(std::span<const std::byte> payload);  // a read's

  BlockStore::Ticket ticket = 0;
  Kind kind = Kind::kFind;
  std::vector<StoredBlockId> ids;  // of a read or write: one
  PrefixHash parent;
  std::vector<int32_t> tokens;
  std::vector<std::span<std::byte>> parts;          // of a read
  std::vector<std::span<const std::byte>> sources;  // of a write
  int64_t slot = -1;                                // these three are for the store's own use
  uint64_t stamp = 0;
  bool is_bad = false;                           // what was read is not the block
  StoreOutcome outcome = StoreOutcome::kFailed;  // when it is settled
  Clock::time_point began = Clock::now();

 private:
  friend class StoreQueue;
  bool is_claimed_ = false;
  bool is_cancelled_ = false;
  bool has_ended_ = false;  // for the caller
};

class StoreQueue {
 public:
  using Operation = std::shared_ptr<StoreOperation>;
  static constexpr size_t kMostWaiting = 1024;

  // For the caller's thread.
  // False, with the operation ended, when too many wait.
  bool push(const Operation& operation);
  // Ends an operation that was not pushed.
  void answer(const Operation& operation, StoreOutcome outcome, int64_t num_found = 0);
  void cancel(BlockStore::Ticket ticket);
  // Appends what has ended for the caller, and what the store is done with: every operation that was pushed is settled
  // once, though it may have been cancelled before.
  void take_ended(std::vector<BlockStore::Completion>& ended, std::vector<Operation>* settled = nullptr);
  void on_ready(std::function<void()> wake);
  BlockStore::Statistics counts() const;  // num_read, num_written and num_failed only

  // For the store's threads.
  // The next to run, reads and finds first; null when none waits, or none but writes unless `may_write`.
  Operation try_take(bool may_write = true);
  // Waits for one at least and appends up to `most`. Appends none after stop(), or when something has ended on the
  // caller's thread: then announce().
  void wait_take(size_t most, std::vector<Operation>& taken);
  // Before the caller's memory is touched; false when the operation was cancelled. At once, release() follows.
  bool claim(const Operation& operation);
  void release(const Operation& operation);
  // The store is done with it.
  void settle(const Operation& operation, StoreOutcome outcome, int64_t num_found = 0);
  void announce();
  void announce_news();  // only if something has ended on the caller's thread

  // Any thread. What waits is settled as failed; what is pushed later, too.
  void stop();
  bool is_stopped() const;

 private:
  void end_locked(const Operation& operation, StoreOutcome outcome, int64_t num_found);
  void settle_locked(const Operation& operation, StoreOutcome outcome, int64_t num_found);
  Operation take_locked(bool may_write);

  mutable std::mutex mutex_;
  std::condition_variable has_work_;
  bool is_stopped_ = false;
  bool has_news_ = false;         // something has ended on the caller's thread
  std::deque<Operation> urgent_;  // reads and finds
  std::deque<Operation> writes_;
  std::unordered_map<BlockStore::Ticket, Operation> open_;  // not ended for the caller
  std::vector<BlockStore::Completion> ended_;
  std::vector<Operation> settled_;
  BlockStore::Statistics counts_;
  std::mutex wake_mutex_;  // held while wake_ runs, so that on_ready({}) ends all calls
  std::function<void()> wake_;
};

}  // namespace quire
