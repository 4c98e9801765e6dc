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

// Steps of a model of 1.1 billion weights on two cores: reading the weights bounds a step of few rows, arithmetic one
// of many. Speculation decides by the difference of few rows.
double ms_of_rows(int64_t rows) {
  const auto n = static_cast<double>(rows);
  return 15.7 + 0.8 * std::min(n, 4.0) + 3.8 * std::max(0.0, n - 4.0);
}

TEST(CostModel, KnowsTheCostOfFewRows) {
  std::mt19937 random(5);
  std::normal_distribution<double> noise(1.0, 0.04);
  CostModel model;
  const auto observe = [&](int64_t rows, int64_t sequences, double depth) {
    const StepShape shape{rows, sequences, static_cast<double>(rows) * depth};
    model.observe(shape, (ms_of_rows(rows) + 0.002 * shape.attended) * noise(random));
  };
  const auto predict = [&](int64_t rows) { return model.predict_ms({rows, rows, static_cast<double>(rows) * 300}); };
  const auto truth = [](int64_t rows) { return ms_of_rows(rows) + 0.002 * static_cast<double>(rows) * 300; };
  for (int i = 0; i < 10; ++i) observe(200, 1, 100);
  for (int i = 0; i < 200; ++i) observe(1, 1, 300);
  EXPECT_NEAR(predict(1) / truth(1), 1.0, 0.03);
  // Steps with drafts have not run yet: they must not look dear, or none ever will.
  EXPECT_LT(predict(3), 1.3 * truth(3));
  for (int i = 0; i < 400; ++i) {
    const auto rows = static_cast<int64_t>(1 + random() % 6);
    observe(rows, rows, 300);
  }
  for (int64_t rows = 1; rows <= 6; ++rows) EXPECT_NEAR(predict(rows) / truth(rows), 1.0, 0.06) << rows;
  for (int i = 0; i < 400; ++i) {
    const auto rows = static_cast<int64_t>(4 + random() % 29);
    observe(rows, rows, 300);
  }
  for (int64_t rows = 1; rows <= 32; ++rows) EXPECT_NEAR(predict(rows) / truth(rows), 1.0, 0.08) << rows;
}

}  // namespace
}  // namespace quire
