#include "apps/matmul_tuner.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace quire {
namespace {

// A machine whose multiplications take as long as a formula says.
template <typename F>
CompareTunings machine(const F& seconds) {
  return [seconds](int64_t num_rows, const MatmulTuning& a, const MatmulTuning& b) {
    return TuningTimes{seconds(num_rows, a), seconds(num_rows, b)};
  };
}

int panels_of(const MatmulTuning& tuning, int64_t num_rows) {
  if (num_rows == 1) return tuning.one_panels;
  return num_rows <= tuning.few_tokens ? tuning.few_panels : tuning.many_panels;
}

TEST(MatmulTuner, FindsWhatIsFast) {
  const TunedMatrix found =
      tune_matrix(true, {}, machine([](int64_t num_rows, const MatmulTuning& tuning) {
                    const int32_t distance = num_rows == 1 ? tuning.one_fetch : tuning.fetch_ahead;
                    double seconds = 1.0 + 0.1 * std::abs(distance / 1536 - 2);
                    seconds += 0.1 * std::abs(panels_of(tuning, num_rows) - (num_rows <= 8 ? 2 : 8));
                    return seconds + (num_rows > 8 && num_rows <= tuning.packed_tokens ? 0.2 : 0.0);
                  }));
  EXPECT_EQ(found.tuning.packed_tokens, 8);
  EXPECT_EQ(found.tuning.few_tokens, 8);
  EXPECT_EQ(found.tuning.few_panels, 2);
  EXPECT_EQ(found.tuning.many_panels, 8);
  EXPECT_EQ(found.tuning.fetch_ahead, 3072);
  EXPECT_EQ(found.tuning.one_fetch, 3072);
  ASSERT_EQ(found.times.size(), std::size(kTunedRows));
  for (const TuningTimes& times : found.times) EXPECT_LT(times.b_s, times.a_s);
}

TEST(MatmulTuner, KeepsTheDefaultsAmidNoise) {
  uint32_t state = 1;
  const TunedMatrix found = tune_matrix(true, {}, [&](int64_t, const MatmulTuning&, const MatmulTuning&) {
    const auto noisy = [&] {
      return 1.0 + 0.01 * static_cast<double>((state = state * 1664525 + 1013904223) >> 24) / 256;
    };
    return TuningTimes{noisy(), noisy()};
  });
  EXPECT_TRUE(same_tuning(found.tuning, {}));
  for (const TuningTimes& times : found.times) EXPECT_EQ(times.a_s, times.b_s);
}

TEST(MatmulTuner, DoesNotPayForOneNumberOfRowsWithAnother) {
  const TunedMatrix found = tune_matrix(true, {}, machine([](int64_t num_rows, const MatmulTuning& tuning) {
                                          if (tuning.fetch_ahead == MatmulTuning().fetch_ahead) return 1.0;
                                          return num_rows == 4 ? 1.1 : 0.5;
                                        }));
  EXPECT_TRUE(same_tuning(found.tuning, {}));
}

TEST(MatmulTuner, StartsFromTheTablesDefaults) {
  const MatmulTuning usual{.packed_tokens = 8, .few_panels = 4};
  const auto slow_beyond = [](int64_t num_rows, const MatmulTuning& tuning) {
    return num_rows > 8 && num_rows <= tuning.packed_tokens ? 2.0
                                                            : 1.0 + 0.1 * std::abs(panels_of(tuning, num_rows) - 4);
  };
  EXPECT_TRUE(same_tuning(tune_matrix(true, usual, machine(slow_beyond)).tuning,
                          {.packed_tokens = 8, .few_tokens = 64, .few_panels = 4, .many_panels = 4, .one_panels = 4}));
  const auto flat = [](int64_t, const MatmulTuning&) { return 1.0; };
  EXPECT_TRUE(same_tuning(tune_matrix(true, usual, machine(flat)).tuning, usual));
}

// Several streams may pay only if they are prefetched. What one row wants is no concern of more rows.
TEST(MatmulTuner, OneRowHasSettingsOfItsOwn) {
  const TunedMatrix found = tune_matrix(true, {}, machine([](int64_t num_rows, const MatmulTuning& tuning) {
                                          if (num_rows > 1) return 1.0;
                                          return tuning.one_panels == 4 && tuning.one_fetch == 3072 ? 0.8 : 1.0;
                                        }));
  EXPECT_TRUE(same_tuning(found.tuning, {.one_panels = 4, .one_fetch = 3072}));
}

// A winner that was luck loses the second time.
TEST(MatmulTuner, ConfirmsTheResultAgainstTheDefaults) {
  int calls = 0;
  const TunedMatrix found = tune_matrix(true, {}, [&](int64_t, const MatmulTuning& a, const MatmulTuning& b) {
    const bool is_search = !same_tuning(a, b) && b.many_panels == 4 && a.fetch_ahead == b.fetch_ahead;
    return TuningTimes{1.0, is_search && ++calls <= 3 ? 0.5 : 1.0};
  });
  EXPECT_GT(calls, 3);
  EXPECT_TRUE(same_tuning(found.tuning, {}));
}

TEST(MatmulTuner, F32HasNothingToDecode) {
  const TunedMatrix found = tune_matrix(false, {}, machine([](int64_t, const MatmulTuning& tuning) {
                                          return tuning.packed_tokens == MatmulTuning().packed_tokens ? 1.0 : 0.5;
                                        }));
  EXPECT_TRUE(same_tuning(found.tuning, {}));
}

}  // namespace
}  // namespace quire
