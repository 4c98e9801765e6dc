#include "drafting/likely_tokens.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "decoding/exp_of_negative.h"
#include "decoding/token_report.h"

namespace quire {
namespace {

// Relative to that of the greatest logit. Partial sums side by side, so that the compiler makes vectors of them.
float mass_of(std::span<const float> logits, float top) {
  constexpr size_t kLanes = 16;
  std::array<float, kLanes> sums{};
  size_t i = 0;
  for (; i + kLanes <= logits.size(); i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) sums[lane] += exp_of_negative(logits[i + lane] - top);
  }
  for (; i < logits.size(); ++i) sums[0] += exp_of_negative(logits[i] - top);
  return std::accumulate(sums.begin(), sums.end(), 0.0f);
}

}  // namespace

float probability_of(std::span<const float> logits, int32_t token) {
  const float top = checked_maximum(logits);
  if (!std::isfinite(top)) return 0.0f;
  return exp_of_negative(logits[static_cast<size_t>(token)] - top) / mass_of(logits, top);
}

void collect_likely_tokens(std::span<const float> logits, int count, std::vector<Candidate>& likely) {
  likely.clear();
  const float top = checked_maximum(logits);
  if (!std::isfinite(top) || count <= 0) return;
  collect_top_k(logits, std::min(static_cast<size_t>(count), logits.size()), likely);
  std::ranges::sort(likely, likelier);
  const float mass = mass_of(logits, top);
  for (Candidate& token : likely) token.probability = exp_of_negative(token.logit - top) / mass;
}

}  // namespace quire
