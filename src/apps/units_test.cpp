#include "apps/units.h"

#include <gtest/gtest.h>

namespace quire {
namespace {

TEST(Units, ReadsQuantitiesAsPeopleWriteThem) {
  EXPECT_EQ(parse_quantity("4096"), 4096u);
  EXPECT_EQ(parse_quantity("32K"), 32768u);
  EXPECT_EQ(parse_quantity("25.6k"), 25600u);
  EXPECT_EQ(parse_quantity("8GiB"), uint64_t{8} << 30);
  EXPECT_EQ(parse_quantity("500MB"), 500000000u);
  for (const char* bad : {"", "-1", "K", "12Q", "1e400", "nan", "0x10", "4 K"}) {
    EXPECT_EQ(parse_quantity(bad), std::nullopt) << bad;
  }
}

TEST(Units, WritesThem) {
  EXPECT_EQ(format_bytes(1000), "1000 B");
  EXPECT_EQ(format_bytes(1536), "1.50 KiB");
  EXPECT_EQ(format_count(1234567), "1,234,567");
  EXPECT_EQ(format_count(12), "12");
  EXPECT_EQ(format_parameters(1100000000), "1.10 B");
}

}  // namespace
}  // namespace quire
