#include "apps/ids.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace quire {
namespace {

TEST(Ids, ParsesListsAndRefusesTheRest) {
  EXPECT_EQ(parse_ids("1,2, 3", 10), (std::vector<int32_t>{1, 2, 3}));
  EXPECT_EQ(parse_ids("[4, 5]", 10), (std::vector<int32_t>{4, 5}));
  for (const char* bad : {"a", "1,x", "10", "-1", "99999999999"}) EXPECT_THROW(parse_ids(bad, 10), Error) << bad;
}

}  // namespace
}  // namespace quire
