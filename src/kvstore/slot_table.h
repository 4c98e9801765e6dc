// Which block lies in which slot of a file, for the slots of one KV group, and which goes when another needs its slot:
// recency and frequency as in a segmented LRU. A block that was read since it was written is kept longer than one that
// was not; among those of a kind, the one that was asked for longest ago goes first.
//
// Memory only; one thread.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "kvstore/prefix_hash.h"

namespace quire {

// A slot in the file's table.
struct SlotEntry {
  PrefixHash hash;
  uint64_t stamp = 0;  // 0: no block is there; otherwise later ones are younger
  uint64_t was_read = 0;
};

class SlotTable {
 public:
  static constexpr uint64_t kMostStamp = uint64_t{1} << 62;

  explicit SlotTable(int64_t num_slots);

  // Its slot, or -1 where it is not, or not yet.
  int64_t find(const PrefixHash& hash) const;
  // Whether it is there or being written.
  bool contains(const PrefixHash& hash) const { return slots_of_.contains(hash); }

  // Takes a slot for a block that will be written: a free one, or that of the block that goes. -1 when all are held.
  // The block must not be contained; publish() or release() follows.
  int64_t reserve(const PrefixHash& hash);
  void publish(int64_t slot);  // it was written: find() has it
  void release(int64_t slot);  // it was not
  void drop(int64_t slot);     // a block that is not what it should be; may be held

  // A held slot keeps its bytes. Holds are counted.
  void hold(int64_t slot);
  void unhold(int64_t slot);
  void refresh(int64_t slot);  // it was asked for
  void promote(int64_t slot);  // it was read

  int64_t num_blocks() const { return num_blocks_; }
  int64_t num_evicted() const { return num_evicted_; }
  // As the file keeps it, an entry for each slot: stamps are in the order in which blocks go.
  std::vector<SlotEntry> entries() const;
  // Into an empty table; of entries for one block, the youngest counts. What a stamp cannot be is no entry.
  void load(std::span<const SlotEntry> entries);

 private:
  enum class State : uint8_t { kFree, kReserved, kOnce, kAgain, kDropped };
  struct Slot {
    PrefixHash hash;
    int32_t older = -1;  // in the list of its state
    int32_t newer = -1;
    int32_t num_holds = 0;
    State state = State::kFree;
  };
  struct List {
    int32_t oldest = -1;
    int32_t newest = -1;
    int64_t size = 0;
  };
  Slot& at(int64_t slot);
  List& list_of(State state) { return state == State::kOnce ? once_ : again_; }
  void append(int32_t slot, State state);
  void unlink(int32_t slot);
  void free_slot(int32_t slot);
  int32_t evict();

  std::vector<Slot> slots_;
  std::vector<int32_t> free_;
  std::unordered_map<PrefixHash, int32_t> slots_of_;
  List once_;   // not read since they were written
  List again_;  // read
  int64_t most_again_;
  int64_t num_blocks_ = 0;
  int64_t num_evicted_ = 0;
};

}  // namespace quire
