#include "kvstore/slot_table.h"

#include <gtest/gtest.h>

namespace quire {
namespace {

PrefixHash hash_of(uint64_t number) { return {.low = number, .high = 1}; }

int64_t put(SlotTable& table, uint64_t number) {
  const int64_t slot = table.reserve(hash_of(number));
  if (slot >= 0) table.publish(slot);
  return slot;
}

TEST(SlotTable, HeldAndReservedSlotsStay) {
  SlotTable table(2);
  const int64_t first = put(table, 1);
  table.hold(first);
  const int64_t second = table.reserve(hash_of(2));
  EXPECT_EQ(table.find(hash_of(2)), -1);
  EXPECT_TRUE(table.contains(hash_of(2)));
  EXPECT_EQ(table.reserve(hash_of(3)), -1);
  table.release(second);
  EXPECT_FALSE(table.contains(hash_of(2)));
  table.drop(first);  // while it is held
  EXPECT_EQ(table.find(hash_of(1)), -1);
  EXPECT_EQ(put(table, 3), second);
  EXPECT_EQ(put(table, 4), second);
  table.unhold(first);
  EXPECT_EQ(put(table, 5), first);
  EXPECT_EQ(table.num_blocks(), 2);
}

TEST(SlotTable, ReadBlocksStayButNotAllForever) {
  SlotTable table(4);
  for (uint64_t i = 0; i < 4; ++i) table.promote(put(table, i));
  // Three quarters may be of the kind that stays: the first has fallen back.
  put(table, 10);
  EXPECT_EQ(table.find(hash_of(0)), -1);
  put(table, 11);
  put(table, 12);
  for (uint64_t i = 1; i < 4; ++i) EXPECT_GE(table.find(hash_of(i)), 0);
  EXPECT_EQ(table.num_evicted(), 3);
}

TEST(SlotTable, EntriesKeepTheOrder) {
  SlotTable table(4);
  for (uint64_t i = 0; i < 4; ++i) put(table, i);
  table.refresh(table.find(hash_of(0)));
  table.promote(table.find(hash_of(1)));
  auto entries = table.entries();
  SlotTable again(4);
  again.load(entries);
  EXPECT_EQ(again.num_blocks(), 4);
  put(again, 10);
  EXPECT_EQ(again.find(hash_of(2)), -1);
  put(again, 11);
  EXPECT_EQ(again.find(hash_of(3)), -1);

  entries[1].hash = entries[0].hash;  // two slots with one block
  entries[2].stamp = ~uint64_t{0};    // damaged
  SlotTable third(4);
  third.load(entries);
  EXPECT_EQ(third.num_blocks(), 2);
  EXPECT_EQ(third.entries().size(), 4u);
  put(third, 20);
  put(third, 21);
  EXPECT_EQ(third.num_evicted(), 0);
}

}  // namespace
}  // namespace quire
