#include "engine/cost_model.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace quire {
namespace {

constexpr double kFade = 0.99;
// Pull towards the weights so far, in directions about which the recent steps say nothing.
constexpr double kInertia = 1e-7;
constexpr double kLeastMs = 1e-3;
// A step stretched by a neighbour says little about the next one.
constexpr double kMostSurprise = 4.0;

using Vector = std::array<double, CostModel::kFeatures>;
using Matrix = std::array<Vector, CostModel::kFeatures>;

Vector features(const StepShape& shape) {
  const int64_t beyond = std::max<int64_t>(0, shape.rows - CostModel::kFlatRows);
  return {1.0, static_cast<double>(shape.rows), static_cast<double>(beyond), static_cast<double>(shape.sequences),
          shape.attended / 1000.0};
}

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

double CostModel::predict_ms(const StepShape& shape) const {
  const Vector x = features(shape);
  return std::max(0.0, std::inner_product(x.begin(), x.end(), weights_.begin(), 0.0));
}

void CostModel::observe(const StepShape& shape, double ms) {
  const double expected = predict_ms(shape);
  if (is_known() && expected > 0) ms = std::min(ms, kMostSurprise * expected);
  ms = std::max(ms, kLeastMs);
  // Divided by the time, so that a short step counts as much as a long one: the target is 1.
  Vector x = features(shape);
  for (double& value : x) value /= ms;
  for (int i = 0; i < kFeatures; ++i) {
    for (int j = 0; j < kFeatures; ++j) moments_[i][j] = kFade * moments_[i][j] + x[i] * x[j];
    targets_[i] = kFade * targets_[i] + x[i];
  }
  Matrix a = moments_;
  Vector b = targets_;
  for (int i = 0; i < kFeatures; ++i) {
    a[i][i] += kInertia;
    b[i] += kInertia * weights_[i];
  }
  weights_ = solve(a, b);
  ++num_observed_;
}

}  // namespace quire
