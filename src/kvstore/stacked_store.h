// Several stores as one, the nearest first: a disk, then a server. A find counts what any of them has. A read asks one
// after the other; what a farther one had is copied to the nearer ones. A write goes to all.
//
// Works in poll(), on the caller's thread.
#pragma once

#include <memory>
#include <unordered_map>
#include <vector>

#include "kvstore/block_store.h"

namespace quire {

class StackedStore final : public BlockStore {
 public:
  explicit StackedStore(std::vector<std::unique_ptr<BlockStore>> stores);

  void begin_find(Ticket ticket, std::span<const StoredBlockId> ids) override;
  void begin_read(Ticket ticket, const StoredBlock& block, std::span<const std::span<std::byte>> parts) override;
  void begin_write(Ticket ticket, const StoredBlock& block, std::span<const std::span<const std::byte>> parts) override;
  void cancel(Ticket ticket) override;
  void poll(std::vector<Completion>& ended) override;
  void on_ready(std::function<void()> wake) override;
  Statistics statistics() const override;  // sums; is_available: one of them
  const char* name() const override { return "stacked"; }

  size_t num_stores() const { return stores_.size(); }
  const BlockStore& store(size_t index) const { return *stores_[index]; }

 private:
  static constexpr size_t kMostCopies = 4;  // on the way to a nearer store

  struct Operation;
  void start(const std::shared_ptr<Operation>& operation, size_t store);
  void advance(const std::shared_ptr<Operation>& operation, size_t store, const Completion& part);
  void advance_find(const std::shared_ptr<Operation>& operation, size_t store, const Completion& part);
  void advance_read(const std::shared_ptr<Operation>& operation, size_t store, const Completion& part);
  void advance_write(const std::shared_ptr<Operation>& operation, const Completion& part);
  void copy_nearer(const Operation& operation, size_t store);
  void end(const std::shared_ptr<Operation>& operation, StoreOutcome outcome, int64_t num_found = 0);

  std::unordered_map<Ticket, std::shared_ptr<Operation>> parts_;  // by the ticket that a store has
  std::unordered_map<Ticket, std::shared_ptr<Operation>> open_;   // by the caller's
  std::vector<Completion> ended_;
  Ticket next_part_ = 1;
  size_t num_copies_ = 0;
  std::vector<std::unique_ptr<BlockStore>> stores_;  // last: they end before the memory of copies does
};

}  // namespace quire
