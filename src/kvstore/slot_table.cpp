#include "kvstore/slot_table.h"

#include <algorithm>
#include <limits>

#include "base/check.h"

namespace quire {

SlotTable::SlotTable(int64_t num_slots)
    : slots_(static_cast<size_t>(num_slots)), most_again_(num_slots - num_slots / 4) {
  CHECK(num_slots > 0 && num_slots <= std::numeric_limits<int32_t>::max());
  free_.reserve(slots_.size());
  for (int64_t slot = num_slots; slot-- > 0;) free_.push_back(static_cast<int32_t>(slot));
  slots_of_.reserve(slots_.size());
}

SlotTable::Slot& SlotTable::at(int64_t slot) {
  CHECK(slot >= 0 && slot < std::ssize(slots_));
  return slots_[static_cast<size_t>(slot)];
}

int64_t SlotTable::find(const PrefixHash& hash) const {
  const auto it = slots_of_.find(hash);
  if (it == slots_of_.end() || slots_[static_cast<size_t>(it->second)].state == State::kReserved) return -1;
  return it->second;
}

int64_t SlotTable::reserve(const PrefixHash& hash) {
  CHECK(!contains(hash));
  if (free_.empty()) {
    const int32_t victim = evict();
    if (victim < 0) return -1;
    ++num_evicted_;
    free_slot(victim);
  }
  const int32_t slot = free_.back();
  free_.pop_back();
  at(slot).hash = hash;
  at(slot).state = State::kReserved;
  slots_of_.emplace(hash, slot);
  return slot;
}

void SlotTable::publish(int64_t slot) {
  CHECK(at(slot).state == State::kReserved);
  append(static_cast<int32_t>(slot), State::kOnce);
  ++num_blocks_;
}

void SlotTable::release(int64_t slot) {
  CHECK(at(slot).state == State::kReserved);
  free_slot(static_cast<int32_t>(slot));
}

void SlotTable::drop(int64_t slot) {
  Slot& dropped = at(slot);
  if (dropped.state == State::kDropped) return;
  unlink(static_cast<int32_t>(slot));
  slots_of_.erase(dropped.hash);
  --num_blocks_;
  dropped.state = State::kDropped;
  if (dropped.num_holds == 0) free_slot(static_cast<int32_t>(slot));
}

void SlotTable::hold(int64_t slot) {
  CHECK(at(slot).state == State::kOnce || at(slot).state == State::kAgain);
  ++at(slot).num_holds;
}

void SlotTable::unhold(int64_t slot) {
  Slot& held = at(slot);
  CHECK(held.num_holds > 0);
  if (--held.num_holds == 0 && held.state == State::kDropped) free_slot(static_cast<int32_t>(slot));
}

void SlotTable::refresh(int64_t slot) {
  const State state = at(slot).state;
  unlink(static_cast<int32_t>(slot));
  append(static_cast<int32_t>(slot), state);
}

void SlotTable::promote(int64_t slot) {
  if (at(slot).state == State::kDropped) return;
  unlink(static_cast<int32_t>(slot));
  append(static_cast<int32_t>(slot), State::kAgain);
  if (again_.size <= most_again_) return;
  const int32_t demoted = again_.oldest;
  unlink(demoted);
  append(demoted, State::kOnce);
}

std::vector<SlotEntry> SlotTable::entries() const {
  std::vector<SlotEntry> entries(slots_.size());
  uint64_t stamp = 0;
  for (const List* list : {&once_, &again_}) {
    for (int32_t slot = list->oldest; slot >= 0; slot = slots_[static_cast<size_t>(slot)].newer) {
      const auto index = static_cast<size_t>(slot);
      entries[index] = {.hash = slots_[index].hash, .stamp = ++stamp, .was_read = list == &again_};
    }
  }
  return entries;
}

void SlotTable::load(std::span<const SlotEntry> entries) {
  CHECK(entries.size() == slots_.size() && num_blocks_ == 0);
  std::vector<int32_t> order;
  for (size_t slot = 0; slot < entries.size(); ++slot) {
    if (entries[slot].stamp != 0 && entries[slot].stamp < kMostStamp) order.push_back(static_cast<int32_t>(slot));
  }
  const auto entry = [&](int32_t slot) -> const SlotEntry& { return entries[static_cast<size_t>(slot)]; };
  std::ranges::stable_sort(order, {}, [&](int32_t slot) { return entry(slot).stamp; });
  for (const int32_t slot : order) {
    const auto [it, is_new] = slots_of_.emplace(entry(slot).hash, slot);
    if (!is_new) {
      unlink(it->second);
      at(it->second) = {};
      it->second = slot;
      --num_blocks_;
    }
    at(slot).hash = entry(slot).hash;
    append(slot, entry(slot).was_read != 0 ? State::kAgain : State::kOnce);
    ++num_blocks_;
  }
  std::erase_if(free_, [this](int32_t slot) { return at(slot).state != State::kFree; });
}

void SlotTable::append(int32_t slot, State state) {
  List& list = list_of(state);
  Slot& appended = at(slot);
  appended.state = state;
  appended.older = list.newest;
  appended.newer = -1;
  (list.newest >= 0 ? at(list.newest).newer : list.oldest) = slot;
  list.newest = slot;
  ++list.size;
}

void SlotTable::unlink(int32_t slot) {
  Slot& unlinked = at(slot);
  CHECK(unlinked.state == State::kOnce || unlinked.state == State::kAgain);
  List& list = list_of(unlinked.state);
  (unlinked.older >= 0 ? at(unlinked.older).newer : list.oldest) = unlinked.newer;
  (unlinked.newer >= 0 ? at(unlinked.newer).older : list.newest) = unlinked.older;
  --list.size;
}

void SlotTable::free_slot(int32_t slot) {
  Slot& freed = at(slot);
  if (freed.state == State::kReserved) slots_of_.erase(freed.hash);
  freed = {};
  free_.push_back(slot);
}

// The block that goes, taken out of all; -1 when all are held or being written.
int32_t SlotTable::evict() {
  for (const List* list : {&once_, &again_}) {
    for (int32_t slot = list->oldest; slot >= 0; slot = at(slot).newer) {
      if (at(slot).num_holds > 0) continue;
      unlink(slot);
      slots_of_.erase(at(slot).hash);
      --num_blocks_;
      at(slot).state = State::kDropped;
      return slot;
    }
  }
  return -1;
}

}  // namespace quire
