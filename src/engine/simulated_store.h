// A store of KV blocks in memory for the simulator and tests: as slow and as faulty as they want it.
#pragma once

#include <algorithm>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <random>
#include <utility>
#include <vector>

#include "kvstore/block_store.h"

namespace quire {

// What outlives a store, as a disk does.
struct StoredRecord {
  PrefixHash parent;
  std::vector<int32_t> tokens;
  std::vector<std::byte> bytes;
};
using StoredRecords = std::map<std::pair<uint64_t, int32_t>, StoredRecord>;  // by the low half of the hash, and group

class SimulatedStore final : public BlockStore {
 public:
  struct Faults {
    int polls_until_done = 0;  // of each operation
    bool in_random_order = false;
    double share_failing = 0;
  };
  SimulatedStore(StoredRecords& records, Faults faults) : records_(records), faults_(faults) {}

  void begin_find(Ticket ticket, std::span<const StoredBlockId> ids) override {
    int64_t count = 0;
    for (const StoredBlockId& id : ids) {
      if (!records_.contains({id.hash.low, id.group})) break;
      ++count;
    }
    add(ticket, [count](Completion& completion) { completion.num_found = count; });
  }
  void begin_read(Ticket ticket, const StoredBlock& block, std::span<const std::span<std::byte>> parts) override {
    ++num_reads;
    const std::vector<int32_t> tokens(block.tokens.begin(), block.tokens.end());
    const std::vector<std::span<std::byte>> to(parts.begin(), parts.end());
    add(ticket, [this, id = block.id, parent = block.parent, tokens, to](Completion& completion) {
      const auto found = records_.find({id.hash.low, id.group});
      if (found == records_.end() || !(found->second.parent == parent) || found->second.tokens != tokens) {
        completion.outcome = StoreOutcome::kMissing;
        return;
      }
      const std::byte* from = found->second.bytes.data();
      for (const std::span<std::byte> part : to) {
        if (completion.outcome == StoreOutcome::kDone) {
          std::memcpy(part.data(), from, part.size());
        } else {
          std::fill(part.begin(), part.end(), std::byte{0xff});  // a failed read may leave anything
        }
        from += part.size();
      }
    });
  }
  void begin_write(Ticket ticket, const StoredBlock& block,
                   std::span<const std::span<const std::byte>> parts) override {
    ++num_writes;
    const std::vector<int32_t> tokens(block.tokens.begin(), block.tokens.end());
    const std::vector<std::span<const std::byte>> from(parts.begin(), parts.end());
    add(ticket, [this, id = block.id, parent = block.parent, tokens, from](Completion& completion) {
      if (completion.outcome != StoreOutcome::kDone) return;
      StoredRecord record{parent, tokens, {}};
      for (const std::span<const std::byte> part : from) {
        record.bytes.insert(record.bytes.end(), part.begin(), part.end());
      }
      records_[{id.hash.low, id.group}] = std::move(record);
    });
  }
  void cancel(Ticket ticket) override {
    for (Pending& pending : pending_) {
      if (pending.ticket == ticket) pending.polls_left = 0;
    }
  }
  void poll(std::vector<Completion>& ended) override {
    if (is_hung) return;
    if (faults_.in_random_order) std::shuffle(pending_.begin(), pending_.end(), random_);
    std::erase_if(pending_, [&](Pending& pending) {
      if (pending.polls_left-- > 0) return false;
      Completion completion{.ticket = pending.ticket};
      if (std::uniform_real_distribution<>(0, 1)(random_) < faults_.share_failing) {
        completion.outcome = StoreOutcome::kFailed;
      }
      pending.end(completion);
      ended.push_back(completion);
      return true;
    });
  }
  void on_ready(std::function<void()>) override {}
  Statistics statistics() const override { return {.num_blocks = std::ssize(records_)}; }
  const char* name() const override { return "memory"; }

  int num_reads = 0;
  int num_writes = 0;
  bool is_hung = false;

 private:
  struct Pending {
    Ticket ticket = 0;
    int polls_left = 0;
    std::function<void(Completion&)> end;
  };
  void add(Ticket ticket, std::function<void(Completion&)> end) {
    pending_.push_back({ticket, faults_.polls_until_done, std::move(end)});
  }

  StoredRecords& records_;
  Faults faults_;
  std::vector<Pending> pending_;
  std::mt19937_64 random_{3};
};

}  // namespace quire
