#include "kvstore/stacked_store.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>

#include "base/check.h"

namespace quire {

struct StackedStore::Operation {
  enum class Kind : uint8_t { kFind, kRead, kWrite, kCopy };
  using Clock = std::chrono::steady_clock;

  StoredBlock block() const { return {.id = ids.front(), .parent = parent, .tokens = tokens}; }

  Kind kind = Kind::kFind;
  Ticket ticket = 0;  // the caller's
  std::vector<StoredBlockId> ids;
  PrefixHash parent;
  std::vector<int32_t> tokens;
  std::vector<std::span<std::byte>> parts;          // of a read
  std::vector<std::span<const std::byte>> sources;  // of a write or copy
  std::vector<std::byte> copied;                    // of a copy
  std::vector<std::pair<size_t, Ticket>> running;   // stores and their tickets
  int64_t num_found = 0;                            // of a find
  size_t num_without = 0;                           // stores in a row that had none of the rest
  StoreOutcome outcome = StoreOutcome::kRefused;    // of a write, so far
  bool is_cancelled = false;
  Clock::time_point began = Clock::now();
};

StackedStore::StackedStore(std::vector<std::unique_ptr<BlockStore>> stores) : stores_(std::move(stores)) {
  CHECK(!stores_.empty());
}

void StackedStore::begin_find(Ticket ticket, std::span<const StoredBlockId> ids) {
  const auto operation = std::make_shared<Operation>();
  operation->ticket = ticket;
  operation->ids.assign(ids.begin(), ids.end());
  CHECK(open_.emplace(ticket, operation).second);
  start(operation, 0);
}

void StackedStore::begin_read(Ticket ticket, const StoredBlock& block, std::span<const std::span<std::byte>> parts) {
  const auto operation = std::make_shared<Operation>();
  operation->kind = Operation::Kind::kRead;
  operation->ticket = ticket;
  operation->ids = {block.id};
  operation->parent = block.parent;
  operation->tokens.assign(block.tokens.begin(), block.tokens.end());
  operation->parts.assign(parts.begin(), parts.end());
  CHECK(open_.emplace(ticket, operation).second);
  start(operation, 0);
}

void StackedStore::begin_write(Ticket ticket, const StoredBlock& block,
                               std::span<const std::span<const std::byte>> parts) {
  const auto operation = std::make_shared<Operation>();
  operation->kind = Operation::Kind::kWrite;
  operation->ticket = ticket;
  operation->ids = {block.id};
  operation->parent = block.parent;
  operation->tokens.assign(block.tokens.begin(), block.tokens.end());
  operation->sources.assign(parts.begin(), parts.end());
  CHECK(open_.emplace(ticket, operation).second);
  for (size_t store = 0; store < stores_.size(); ++store) start(operation, store);
}

void StackedStore::cancel(Ticket ticket) {
  const auto it = open_.find(ticket);
  if (it == open_.end()) return;
  it->second->is_cancelled = true;
  for (const auto& [store, part] : it->second->running) stores_[store]->cancel(part);
}

void StackedStore::poll(std::vector<Completion>& ended) {
  std::vector<Completion> parts;
  for (size_t store = 0; store < stores_.size(); ++store) {
    parts.clear();
    stores_[store]->poll(parts);
    for (const Completion& part : parts) {
      const auto node = parts_.extract(part.ticket);
      CHECK(!node.empty());
      std::erase(node.mapped()->running, std::pair(store, part.ticket));
      advance(node.mapped(), store, part);
    }
  }
  ended.insert(ended.end(), ended_.begin(), ended_.end());
  ended_.clear();
}

void StackedStore::on_ready(std::function<void()> wake) {
  for (const auto& store : stores_) store->on_ready(wake);
}

BlockStore::Statistics StackedStore::statistics() const {
  Statistics sum{.is_available = false};
  for (const auto& store : stores_) {
    const Statistics one = store->statistics();
    sum.num_blocks += std::max<int64_t>(one.num_blocks, 0);
    sum.bytes += one.bytes;
    sum.capacity_bytes += one.capacity_bytes;
    sum.num_read += one.num_read;
    sum.num_written += one.num_written;
    sum.num_evicted += one.num_evicted;
    sum.num_failed += one.num_failed;
    sum.is_available |= one.is_available;
  }
  return sum;
}

void StackedStore::start(const std::shared_ptr<Operation>& operation, size_t store) {
  const Ticket part = next_part_++;
  parts_.emplace(part, operation);
  operation->running.emplace_back(store, part);
  switch (operation->kind) {
    case Operation::Kind::kFind:
      stores_[store]->begin_find(part, std::span(operation->ids).subspan(static_cast<size_t>(operation->num_found)));
      break;
    case Operation::Kind::kRead: stores_[store]->begin_read(part, operation->block(), operation->parts); break;
    case Operation::Kind::kWrite:
    case Operation::Kind::kCopy: stores_[store]->begin_write(part, operation->block(), operation->sources); break;
  }
}

void StackedStore::advance(const std::shared_ptr<Operation>& operation, size_t store, const Completion& part) {
  switch (operation->kind) {
    case Operation::Kind::kFind: advance_find(operation, store, part); break;
    case Operation::Kind::kRead: advance_read(operation, store, part); break;
    case Operation::Kind::kWrite: advance_write(operation, part); break;
    case Operation::Kind::kCopy:
      if (operation->running.empty()) --num_copies_;
      break;
  }
}

// Each store counts on from where the one before ended, as long as one of them finds something.
void StackedStore::advance_find(const std::shared_ptr<Operation>& operation, size_t store, const Completion& part) {
  operation->num_found += part.num_found;
  operation->num_without = part.num_found > 0 ? 1 : operation->num_without + 1;
  const bool is_all = operation->num_found == std::ssize(operation->ids);
  if (is_all || operation->is_cancelled || operation->num_without >= stores_.size()) {
    end(operation, StoreOutcome::kDone, operation->num_found);
  } else {
    start(operation, (store + 1) % stores_.size());
  }
}

void StackedStore::advance_read(const std::shared_ptr<Operation>& operation, size_t store, const Completion& part) {
  if (part.outcome == StoreOutcome::kDone) {
    copy_nearer(*operation, store);
    end(operation, StoreOutcome::kDone);
  } else if (operation->is_cancelled || store + 1 == stores_.size()) {
    end(operation, part.outcome);
  } else {
    start(operation, store + 1);
  }
}

// Done when one store has it; failed when none has and one has failed.
void StackedStore::advance_write(const std::shared_ptr<Operation>& operation, const Completion& part) {
  if (part.outcome == StoreOutcome::kDone || operation->outcome == StoreOutcome::kRefused) {
    operation->outcome = part.outcome;
  }
  if (operation->running.empty()) end(operation, operation->outcome);
}

// From memory of its own, since the caller's is the caller's again when the read has ended.
void StackedStore::copy_nearer(const Operation& operation, size_t store) {
  if (store == 0 || num_copies_ >= kMostCopies) return;
  const auto copy = std::make_shared<Operation>();
  copy->kind = Operation::Kind::kCopy;
  copy->ids = operation.ids;
  copy->parent = operation.parent;
  copy->tokens = operation.tokens;
  for (const auto& part : operation.parts) copy->copied.insert(copy->copied.end(), part.begin(), part.end());
  copy->sources = {copy->copied};
  ++num_copies_;
  for (size_t nearer = 0; nearer < store; ++nearer) start(copy, nearer);
}

void StackedStore::end(const std::shared_ptr<Operation>& operation, StoreOutcome outcome, int64_t num_found) {
  open_.erase(operation->ticket);
  const std::chrono::duration<double, std::milli> took = Operation::Clock::now() - operation->began;
  ended_.push_back({.ticket = operation->ticket, .outcome = outcome, .num_found = num_found, .ms = took.count()});
}

}  // namespace quire
