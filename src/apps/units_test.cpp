#include "apps/units.h"

#include <gtest/gtest.h>

#include "apps/ids.h"
#include "base/error.h"

namespace quire {
namespace {

TEST(Units, ReadsQuantitiesAsPeopleWriteThem) {
  EXPECT_EQ(parse_quantity("4096", "x"), 4096u);
  EXPECT_EQ(parse_quantity("32K", "x"), 32768u);
  EXPECT_EQ(parse_quantity("25.6k", "x"), 25600u);
  EXPECT_EQ(parse_quantity("8GiB", "x"), uint64_t{8} << 30);
  EXPECT_EQ(parse_quantity("500MB", "x"), 500000000u);
  for (const char* bad : {"", "-1", "K", "12Q", "1e400", "nan", "0x10", "4 K"}) {
    EXPECT_THROW(parse_quantity(bad, "x"), Error) << bad;
  }
}

TEST(Units, WritesThem) {
  EXPECT_EQ(format_bytes(1000), "1000 B");
  EXPECT_EQ(format_bytes(1536), "1.50 KiB");
  EXPECT_EQ(format_count(1234567), "1,234,567");
  EXPECT_EQ(format_count(12), "12");
  EXPECT_EQ(format_parameters(1100000000), "1.10 B");
}

TEST(Ids, ParsesListsAndRefusesTheRest) {
  EXPECT_EQ(parse_ids("1,2, 3", 10), (std::vector<int32_t>{1, 2, 3}));
  EXPECT_EQ(parse_ids("[4, 5]", 10), (std::vector<int32_t>{4, 5}));
  for (const char* bad : {"a", "1,x", "10", "-1", "99999999999"}) EXPECT_THROW(parse_ids(bad, 10), Error) << bad;
}

}  // namespace
}  // namespace quire
