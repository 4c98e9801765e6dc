#include "engine/cost_model.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

namespace quire {
namespace {

// The weight of a new step in the running mean of its bucket, when that has seen some.
constexpr double kNewStepWeight = 0.1;
// The weight of a bucket decays with its age in steps, but not below a minimum: the speed of the machine may have
// changed since, but the proportions of the costs have not.
constexpr double kAgeDecay = 0.995;
constexpr double kMinBucketWeight = 0.02;
// Pulls weights towards zero, which decides in the directions that the buckets do not determine: a step's time is fixed
// rather than due to its few rows or sequences, until steps of other sizes have told.
constexpr CostModel::Weights kRegularization = {1e-10, 1e-7, 1e-7, 1e-7, 6e-7, 2e-6, 4e-7, 2e-6};
// Steps of a bucket after each of which the weights are fitted; later they are after this many steps of any bucket.
constexpr int64_t kFitsAtOnce = 16;
constexpr int64_t kFitEvery = 2;
constexpr double kMinStepMs = 1e-3;
constexpr double kMinPivot = 1e-12;
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
    a[j][j] = std::sqrt(std::max(a[j][j], kMinPivot));
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

// Leaves out the feature with the most negative weight until there is none.
Vector solve_without_negatives(Matrix a, Vector b) {
  // Divided by the roots of the diagonal, features of any size are solved with the same precision.
  Vector scale{};
  for (size_t i = 0; i < scale.size(); ++i) scale[i] = 1.0 / std::sqrt(a[i][i]);
  for (size_t i = 0; i < scale.size(); ++i) {
    for (size_t j = 0; j < scale.size(); ++j) a[i][j] *= scale[i] * scale[j];
    b[i] *= scale[i];
  }
  Vector weights{};
  for (size_t round = 0; round < weights.size(); ++round) {
    weights = solve(a, b);
    const auto least = static_cast<size_t>(std::ranges::min_element(weights) - weights.begin());
    if (weights[least] >= 0.0) break;
    for (size_t i = 0; i < weights.size(); ++i) a[least][i] = a[i][least] = 0.0;
    a[least][least] = 1.0;
    b[least] = 0.0;
  }
  for (size_t i = 0; i < weights.size(); ++i) weights[i] = std::max(0.0, weights[i] * scale[i]);
  return weights;
}

}  // namespace

CostModel::Vector CostModel::features_of(const StepShape& shape) {
  Vector x = {1.0};
  size_t next = 1;
  int64_t begin = 0;
  for (const int64_t kink : kKinks) {
    x[next++] = static_cast<double>(std::clamp<int64_t>(shape.rows - begin, 0, kink - begin));
    begin = kink;
  }
  x[next++] = static_cast<double>(std::max<int64_t>(0, shape.rows - begin));
  x[next++] = static_cast<double>(shape.sequences);
  x[next] = shape.attended / 1000.0;
  return x;
}

// A bucket for each number of rows up to 8, then two for each power of two.
int CostModel::row_bucket_of(int64_t rows) {
  constexpr int kSingle = 8;
  if (rows <= kSingle) return static_cast<int>(std::max<int64_t>(rows, 1)) - 1;
  const int width = static_cast<int>(std::bit_width(static_cast<uint64_t>(rows)));
  const int half = static_cast<int>((rows >> (width - 2)) & 1);
  return std::min(kSingle + 2 * (width - 4) + half, kRowBuckets - 1);
}

bool CostModel::has_seen(int64_t rows, int64_t num_steps) const {
  // A model that was given its weights needs no step.
  if (seen_.empty()) return is_fitted();
  const auto begin = static_cast<size_t>(row_bucket_of((rows + 1) / 2) * kDepthBuckets);
  const auto end = static_cast<size_t>((row_bucket_of(rows) + 1) * kDepthBuckets);
  for (size_t i = begin; i < end; ++i) {
    if (buckets_[i].last_seen >= 0 && num_observed_ - buckets_[i].last_seen <= num_steps) return true;
  }
  return false;
}

double CostModel::predict_ms(const StepShape& shape) const {
  const Vector x = features_of(shape);
  return std::max(0.0, std::inner_product(x.begin(), x.end(), weights_.begin(), 0.0));
}

void CostModel::observe(const StepShape& shape, double ms) {
  const double expected = predict_ms(shape);
  if (is_fitted() && expected > 0) ms = std::min(ms, kMaxMeasuredRatio * expected);
  ms = std::max(ms, kMinStepMs);
  // And one for each power of two of the positions that a row attends to.
  const auto rows = static_cast<double>(std::max<int64_t>(1, shape.rows));
  const auto depth = static_cast<uint64_t>(std::max(1.0, shape.attended / rows));
  const int depth_bucket = std::min(kDepthBuckets, static_cast<int>(std::bit_width(depth))) - 1;
  const auto at = static_cast<size_t>(row_bucket_of(shape.rows) * kDepthBuckets + depth_bucket);
  ShapeBucket& bucket = buckets_[at];
  if (bucket.num_seen == 0) seen_.insert(std::ranges::lower_bound(seen_, at), at);
  const Vector x = features_of(shape);
  const double fresh = std::max(kNewStepWeight, 1.0 / static_cast<double>(++bucket.num_seen));
  for (int i = 0; i < kFeatures; ++i) bucket.features[i] += fresh * (x[i] - bucket.features[i]);
  bucket.ms += fresh * (ms - bucket.ms);
  bucket.last_seen = num_observed_++;
  // Once its bucket knows what such a step takes, one more says little.
  if (bucket.num_seen <= kFitsAtOnce || num_observed_ - last_fit_ >= kFitEvery) fit();
}

void CostModel::fit() {
  Matrix a{};
  Vector b{};
  for (int i = 0; i < kFeatures; ++i) a[i][i] = kRegularization[i];
  for (const size_t at : seen_) {
    const ShapeBucket& bucket = buckets_[at];
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
  weights_ = solve_without_negatives(a, b);
  last_fit_ = num_observed_;
}

}  // namespace quire
