#include "engine/cost_model.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

namespace quire {
namespace {

// The weight of a new step in the running mean of its bucket.
constexpr double kNewStepWeight = 0.25;
// The weight of a bucket decays with its age in steps, but not below a minimum: the speed of the machine may have
// changed since, but the proportions of the costs have not.
constexpr double kAgeDecay = 0.995;
constexpr double kMinBucketWeight = 0.02;
// Pulls the fit towards the present weights in the directions that the buckets do not determine. The less of a step's
// time a feature accounts for, as a rule, the stronger: one sequence alone tells nothing about the cost of a row.
constexpr CostModel::Weights kRegularization = {1e-7, 2e-6, 2e-6, 2e-6, 2e-6, 2e-6, 1e-5, 2e-6};
constexpr double kMinStepMs = 1e-3;
// A measured time counts at most as this multiple of the prediction: a step that another process slowed down says
// little about the next one.
constexpr double kMaxMeasuredRatio = 4.0;

using Vector = std::array<double, CostModel::kFeatures>;
using Matrix = std::array<Vector, CostModel::kFeatures>;

// Cholesky decomposition; the matrix is symmetric and, thanks to kRegularization on its diagonal, positive definite.
Vector solve(Matrix a, Vector b) {
  constexpr int n = CostModel::kFeatures;
  for (int j = 0; j < n; ++j) {
    for (int k = 0; k < j; ++k) a[j][j] -= a[j][k] * a[j][k];
    a[j][j] = std::sqrt(std::max(a[j][j], 1e-300));
    for (int i = j + 1; i < n; ++i) {
      for (int k = 0; k < j; ++k) a[i][j] -= a[i][k] * a[j][k];
      a[i][j] /= a[j][j];
    }
  }
  for (int i = 0; i < n; ++i) {
    for (int k = 0; k < i; ++k) b[i] -= a[i][k] * b[k];
    b[i] /= a[i][i];
  }
  for (int i = n - 1; i >= 0; --i) {
    for (int k = i + 1; k < n; ++k) b[i] -= a[k][i] * b[k];
    b[i] /= a[i][i];
  }
  return b;
}

}  // namespace

CostModel::Vector CostModel::features_of(const StepShape& shape) {
  Vector x = {1.0, static_cast<double>(shape.rows)};
  size_t next = 2;
  for (const int64_t kink : kKinks) x[next++] = static_cast<double>(std::max<int64_t>(0, shape.rows - kink));
  x[next++] = static_cast<double>(shape.sequences);
  x[next] = shape.attended / 1000.0;
  return x;
}

// A bucket for each number of rows up to 8, then two for each power of two; and for each power of two of the positions
// that a row attends to.
size_t CostModel::bucket_of(const StepShape& shape) {
  constexpr uint64_t kSingle = 8;
  const auto rows = static_cast<uint64_t>(std::max<int64_t>(1, shape.rows));
  int of_rows = static_cast<int>(rows) - 1;
  if (rows > kSingle) {
    const int width = static_cast<int>(std::bit_width(rows));
    of_rows = static_cast<int>(kSingle) + 2 * (width - 4) + static_cast<int>((rows >> (width - 2)) & 1);
  }
  const auto depth = static_cast<uint64_t>(std::max(1.0, shape.attended / static_cast<double>(rows)));
  const int of_depth = std::min(kDepthBuckets, static_cast<int>(std::bit_width(depth))) - 1;
  return static_cast<size_t>(std::min(of_rows, kRowBuckets - 1) * kDepthBuckets + of_depth);
}

double CostModel::predict_ms(const StepShape& shape) const {
  const Vector x = features_of(shape);
  return std::max(0.0, std::inner_product(x.begin(), x.end(), weights_.begin(), 0.0));
}

void CostModel::observe(const StepShape& shape, double ms) {
  const double expected = predict_ms(shape);
  if (is_fitted() && expected > 0) ms = std::min(ms, kMaxMeasuredRatio * expected);
  ms = std::max(ms, kMinStepMs);
  ShapeBucket& bucket = buckets_[bucket_of(shape)];
  const Vector x = features_of(shape);
  const double fresh = bucket.last_seen < 0 ? 1.0 : kNewStepWeight;
  for (int i = 0; i < kFeatures; ++i) bucket.features[i] += fresh * (x[i] - bucket.features[i]);
  bucket.ms += fresh * (ms - bucket.ms);
  bucket.last_seen = num_observed_++;
  fit();
}

void CostModel::fit() {
  Matrix a{};
  Vector b{};
  for (int i = 0; i < kFeatures; ++i) {
    a[i][i] = kRegularization[i];
    b[i] = kRegularization[i] * weights_[i];
  }
  for (const ShapeBucket& bucket : buckets_) {
    if (bucket.last_seen < 0) continue;
    const auto age = static_cast<double>(num_observed_ - bucket.last_seen);
    const double weight = std::max(kMinBucketWeight, std::pow(kAgeDecay, age));
    // Features are divided by the measured time and the target is 1: the error is relative, so that a short step counts
    // as much as a long one.
    for (int i = 0; i < kFeatures; ++i) {
      const double scaled = weight * bucket.features[i] / bucket.ms;
      for (int j = 0; j < kFeatures; ++j) a[i][j] += scaled * bucket.features[j] / bucket.ms;
      b[i] += scaled;
    }
  }
  weights_ = solve(a, b);
}

}  // namespace quire
