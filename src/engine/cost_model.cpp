#include "engine/cost_model.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

namespace quire {
namespace {

// Of a new step in its kind's running mean.
constexpr double kFresh = 0.25;
// A kind that has not been seen for a while counts less, but is never forgotten: the machine may have changed, the
// shape of its costs has not.
constexpr double kFade = 0.995;
constexpr double kLeastWeight = 0.02;
// Pull towards the weights so far, in directions about which all kinds together say nothing.
constexpr double kInertia = 1e-7;
constexpr double kLeastMs = 1e-3;
// A step stretched by a neighbour says little about the next one.
constexpr double kMostSurprise = 4.0;

using Vector = std::array<double, CostModel::kFeatures>;
using Matrix = std::array<Vector, CostModel::kFeatures>;

// Cholesky; the matrix is symmetric and, by the inertia on its diagonal, positive.
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
  const int64_t beyond = std::max<int64_t>(0, shape.rows - kFlatRows);
  return {1.0, static_cast<double>(shape.rows), static_cast<double>(beyond), static_cast<double>(shape.sequences),
          shape.attended / 1000.0};
}

double CostModel::predict_ms(const StepShape& shape) const {
  const Vector x = features_of(shape);
  return std::max(0.0, std::inner_product(x.begin(), x.end(), weights_.begin(), 0.0));
}

void CostModel::observe(const StepShape& shape, double ms) {
  const double expected = predict_ms(shape);
  if (is_known() && expected > 0) ms = std::min(ms, kMostSurprise * expected);
  ms = std::max(ms, kLeastMs);
  // Kinds are powers of two of the rows and of the positions that a row attends to.
  const auto rows = static_cast<uint64_t>(std::max<int64_t>(1, shape.rows));
  const auto depth = static_cast<uint64_t>(std::max(1.0, shape.attended / static_cast<double>(rows)));
  const int row_kind = std::min(kRowKinds, static_cast<int>(std::bit_width(rows))) - 1;
  const int depth_kind = std::min(kDepthKinds, static_cast<int>(std::bit_width(depth))) - 1;
  Kind& kind = kinds_[static_cast<size_t>(row_kind * kDepthKinds + depth_kind)];
  const Vector x = features_of(shape);
  const double fresh = kind.last_seen < 0 ? 1.0 : kFresh;
  for (int i = 0; i < kFeatures; ++i) kind.features[i] += fresh * (x[i] - kind.features[i]);
  kind.ms += fresh * (ms - kind.ms);
  kind.last_seen = num_observed_++;
  fit();
}

void CostModel::fit() {
  Matrix a{};
  Vector b{};
  for (int i = 0; i < kFeatures; ++i) {
    a[i][i] = kInertia;
    b[i] = kInertia * weights_[i];
  }
  for (const Kind& kind : kinds_) {
    if (kind.last_seen < 0) continue;
    const auto age = static_cast<double>(num_observed_ - kind.last_seen);
    const double weight = std::max(kLeastWeight, std::pow(kFade, age));
    // Divided by the time, so that a short step counts as much as a long one: the target is 1.
    for (int i = 0; i < kFeatures; ++i) {
      const double scaled = weight * kind.features[i] / kind.ms;
      for (int j = 0; j < kFeatures; ++j) a[i][j] += scaled * kind.features[j] / kind.ms;
      b[i] += scaled;
    }
  }
  weights_ = solve(a, b);
}

}  // namespace quire
