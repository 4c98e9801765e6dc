// What a step will cost in milliseconds, learned from the steps that ran: a linear model of the step's shape, fitted by
// least squares of the relative error. The scheduler sizes prefill slices by it, the simulator plans capacity by it.
//
// Steps of like shapes are remembered together, as one running mean; the fit is over these kinds of shapes. So a
// thousand steps that decode do not wash away what one prompt has taught.
//
// Owned by the scheduler; pure arithmetic, no clock.
#pragma once

#include <array>
#include <cstdint>

namespace quire {

struct StepShape {
  int64_t rows = 0;       // tokens that go through the model
  int64_t sequences = 0;  // logit rows, sampling
  double attended = 0.0;  // key positions read by all rows together
};

class CostModel {
 public:
  static constexpr int kFeatures = 5;
  static constexpr int64_t kFlatRows = 16;  // up to about so many rows a step is bound by reading the weights
  // ms: fixed, per row, per row beyond kFlatRows, per sequence, per 1,000 attended positions
  using Weights = std::array<double, kFeatures>;

  CostModel() = default;
  explicit CostModel(const Weights& weights) : weights_(weights), num_observed_(kWarmUp) {}  // already fitted

  // Known only after a few steps.
  bool is_known() const { return num_observed_ >= kWarmUp; }
  double predict_ms(const StepShape& shape) const;
  void observe(const StepShape& shape, double ms);
  const Weights& weights() const { return weights_; }

 private:
  static constexpr int64_t kWarmUp = 8;
  using Vector = std::array<double, kFeatures>;

  static Vector features_of(const StepShape& shape);

  struct Kind {
    Vector features{};  // running means of the features and the time of its steps
    double ms = 0.0;
    int64_t last_seen = -1;  // in steps observed
  };
  static constexpr int kRowKinds = 14;
  static constexpr int kDepthKinds = 16;

  void fit();

  Weights weights_{};
  std::array<Kind, kRowKinds * kDepthKinds> kinds_;
  int64_t num_observed_ = 0;
};

}  // namespace quire
