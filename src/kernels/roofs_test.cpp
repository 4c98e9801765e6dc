#include "kernels/roofs.h"

#include <gtest/gtest.h>

#include <vector>

#include "kernels/select.h"

namespace quire {
namespace {

TEST(Roofs, EveryTableHasThem) {
  ThreadPool pool(2);
  const std::vector<std::byte> memory((size_t{4} << 20) + 77);
  for (const Kernels* table : runnable_kernels()) {
    const RoofMeter meter(pool, *table);
    EXPECT_GT(meter.read(memory), 0.0) << table->name;
    EXPECT_GT(meter.read({memory.data() + 1, 1000}), 0.0) << table->name;
    EXPECT_EQ(meter.read({}), 0.0) << table->name;
    EXPECT_GE(meter.multiply_add(), 0.0) << table->name;
    EXPECT_GE(meter.dot(), 0.0) << table->name;
    EXPECT_GE(meter.cached_dot(), 0.0) << table->name;
  }
}

}  // namespace
}  // namespace quire
