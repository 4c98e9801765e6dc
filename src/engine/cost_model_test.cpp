#include "engine/cost_model.h"

#include <gtest/gtest.h>

#include <random>

namespace quire {
namespace {

double true_ms(const StepShape& shape, double scale = 1.0) {
  return scale * (25 + 3.0 * static_cast<double>(shape.rows) + 0.2 * static_cast<double>(shape.sequences) +
                  0.004 * shape.attended);
}

StepShape random_shape(std::mt19937& random) {
  const auto rows = static_cast<int64_t>(1 + random() % 512);
  return {rows, static_cast<int64_t>(1 + random() % 16), static_cast<double>(rows * (random() % 2000))};
}

TEST(CostModel, FitsLinearCostsUnderNoiseAndFollowsAChange) {
  std::mt19937 random(3);
  std::normal_distribution<double> noise(1.0, 0.05);
  CostModel model;
  EXPECT_FALSE(model.is_fitted());
  const auto teach = [&](int steps, double scale) {
    for (int i = 0; i < steps; ++i) {
      const StepShape shape = random_shape(random);
      model.observe(shape, true_ms(shape, scale) * noise(random));
    }
  };
  const auto expect_close = [&](double scale) {
    for (int i = 0; i < 50; ++i) {
      const StepShape shape = random_shape(random);
      EXPECT_NEAR(model.predict_ms(shape) / true_ms(shape, scale), 1.0, 0.15);
    }
  };
  teach(200, 1.0);
  EXPECT_TRUE(model.is_fitted());
  expect_close(1.0);
  teach(1500, 2.0);  // another process took half of the machine, and steps of every shape ran since
  expect_close(2.0);
}

TEST(CostModel, ManyStepsOfOneShapeDoNotSpoilTheFit) {
  CostModel model;
  std::mt19937 random(4);
  for (int i = 0; i < 100; ++i) {
    const StepShape shape = random_shape(random);
    model.observe(shape, true_ms(shape));
  }
  const StepShape decode{8, 8, 8000};
  for (int i = 0; i < 20000; ++i) model.observe(decode, true_ms(decode));
  EXPECT_NEAR(model.predict_ms(decode) / true_ms(decode), 1.0, 0.02);
  const StepShape prefill{256, 9, 256 * 500};
  EXPECT_NEAR(model.predict_ms(prefill) / true_ms(prefill), 1.0, 0.2);
}

}  // namespace
}  // namespace quire
