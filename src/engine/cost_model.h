// Predicts the time of a step in milliseconds from the steps that ran: a linear model of the step's shape, whose slope
// in rows has kinks and whose weights are not negative, fitted by least squares of the relative error. The scheduler
// sizes prefill slices by it, speculation counts drafts, the simulator plans capacity.
//
// Steps of similar shapes share a bucket, which keeps a running mean; the fit is over the buckets. So a thousand decode
// steps do not outweigh the one prefill step that was seen.
//
// Owned by the scheduler; pure arithmetic, no clock.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace quire {

struct StepShape {
  int64_t rows = 0;       // tokens that go through the model
  int64_t sequences = 0;  // logit rows, sampling
  double attended = 0.0;  // key positions read by all rows together
};

class CostModel {
 public:
  // Up to some number of rows a step is bound by reading the weights, from there on by arithmetic. Where that is
  // depends on the machine, so the slope may change at each of these.
  static constexpr std::array<int64_t, 4> kKinks = {4, 8, 16, 64};
  static constexpr int kFeatures = 4 + static_cast<int>(kKinks.size());
  // Milliseconds: fixed; per row up to the first of kKinks, between each two, and beyond the last; per sequence; per
  // 1,000 attended positions.
  using Weights = std::array<double, kFeatures>;

  CostModel() = default;
  explicit CostModel(const Weights& weights) : weights_(weights), num_observed_(kWarmUp) {}  // already fitted

  // Whether enough steps were observed for predict_ms() to be of use.
  bool is_fitted() const { return num_observed_ >= kWarmUp; }
  double predict_ms(const StepShape& shape) const;
  // Whether one of the last `num_steps` steps had about this many rows: so many, or at least half of them.
  bool has_seen(int64_t rows, int64_t num_steps) const;
  void observe(const StepShape& shape, double ms);
  const Weights& weights() const { return weights_; }

 private:
  static constexpr int64_t kWarmUp = 8;
  using Vector = std::array<double, kFeatures>;

  static Vector features_of(const StepShape& shape);
  static int row_bucket_of(int64_t rows);

  struct ShapeBucket {
    Vector features{};  // running means over its steps: the features, and below the time
    double ms = 0.0;
    int64_t num_seen = 0;
    int64_t last_seen = -1;  // the value of num_observed_ then; -1: never
  };
  static constexpr int kRowBuckets = 30;
  static constexpr int kDepthBuckets = 16;

  void fit();

  Weights weights_{};
  std::array<ShapeBucket, kRowBuckets * kDepthBuckets> buckets_;
  std::vector<size_t> seen_;  // the buckets that have seen steps
  int64_t num_observed_ = 0;
  int64_t last_fit_ = 0;  // the value of num_observed_ then
};

}  // namespace quire
