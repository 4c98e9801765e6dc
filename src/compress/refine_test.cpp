#include "compress/refine.h"

#include <gtest/gtest.h>

#include "compress/gptq.h"
#include "compress/rtn.h"
#include "compress/synthetic_input.h"
#include "tensor/half.h"

namespace quire {
namespace {

using testing::correlated_input;
using testing::random_floats;
using testing::values_of;

TEST(Refine, LessensTheErrorOfEveryMethod) {
  ThreadPool one(1);
  ThreadPool three(3);
  const InputStatistics input = correlated_input(128, 300, 1);
  const std::vector<float> values = random_floats(20 * 128, 2);
  const FloatMatrix matrix = {values, 20, 128};
  const auto error_of = [&](const GroupMatrix& result) {
    return output_error(matrix, {values_of(result), 20, 128}, input, three);
  };
  for (const int bits : {2, 4}) {
    const GroupGrid grid = {.bits = bits, .group = 32, .symmetric = bits == 2};
    const GroupMatrix rounded = round_to_nearest(matrix, {.grid = grid}, three);
    const GroupMatrix coded = gptq(matrix, input, {.grid = grid, .order = ColumnOrder::kByInputInGroups}, three);
    for (const GroupMatrix& before : {rounded, coded}) {
      GroupMatrix after = before;
      refine(after, matrix, input, {}, three);
      EXPECT_LT(error_of(after), 0.99 * error_of(before)) << bits;
      for (const float scale : after.scales) EXPECT_EQ(scale, f16_to_f32(f32_to_f16(scale)));
      GroupMatrix again = before;
      refine(again, matrix, input, {}, one);
      EXPECT_EQ(again.codes, after.codes);
      EXPECT_EQ(again.scales, after.scales);
    }
    EXPECT_LT(error_of(coded), error_of(rounded));
  }
}

TEST(Refine, LeavesWhatIsExact) {
  ThreadPool threads(1);
  const InputStatistics input = correlated_input(32, 100, 3);
  std::vector<float> values;
  for (int i = 0; i < 64; ++i) values.push_back(0.5f * static_cast<float>(i % 16 - 8));
  const FloatMatrix matrix = {values, 2, 32};
  GroupMatrix exact = {.rows = 2, .cols = 32, .grid = {.bits = 4, .group = 32}};
  exact.scales = {0.5f, 0.5f};
  exact.zeros = {8, 8};
  for (int i = 0; i < 64; ++i) exact.codes.push_back(static_cast<uint8_t>(i % 16));
  GroupMatrix refined = exact;
  refine(refined, matrix, input, {}, threads);
  EXPECT_EQ(refined.codes, exact.codes);
  EXPECT_EQ(refined.scales, exact.scales);
}

}  // namespace
}  // namespace quire
