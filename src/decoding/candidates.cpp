#include "decoding/candidates.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"

namespace quire {
namespace {

constexpr size_t kFirstSorted = 128;

// Number of leading candidates whose mass reaches p; at least 1.
size_t count_of_mass(const std::vector<Candidate>& candidates, float p) {
  double mass = 0.0;
  for (size_t i = 0; i < candidates.size(); ++i) {
    mass += candidates[i].probability;
    if (mass >= p) return i + 1;
  }
  return candidates.size();
}

}  // namespace

void collect_top_k(std::span<const float> logits, size_t k, std::vector<Candidate>& candidates) {
  CHECK(k > 0);
  candidates.clear();
  // Of equals the first stay, so only what is greater than the least of k known ones can matter.
  float least = -std::numeric_limits<float>::infinity();
  const auto keep_best = [&] {
    const auto kth = candidates.begin() + static_cast<int64_t>(k) - 1;
    std::nth_element(candidates.begin(), kth, candidates.end(), likelier);
    candidates.resize(k);
    least = candidates.back().logit;
  };
  for (size_t i = 0; i < logits.size(); ++i) {
    if (!(logits[i] > least)) continue;
    candidates.push_back({static_cast<int32_t>(i), logits[i], 0.0f});
    if (candidates.size() == 2 * k + 256) keep_best();
  }
  if (candidates.size() > k) keep_best();
}

void keep_typical(std::vector<Candidate>& candidates, float p) {
  if (p >= 1.0f) return;
  double entropy = 0.0;
  for (const Candidate& candidate : candidates) {
    if (candidate.probability > 0.0f) entropy -= candidate.probability * std::log(candidate.probability);
  }
  const auto surprise_gap = [&](const Candidate& candidate) {
    return std::abs(-std::log(static_cast<double>(candidate.probability)) - entropy);
  };
  std::sort(candidates.begin(), candidates.end(), [&](const Candidate& a, const Candidate& b) {
    const double gap_a = surprise_gap(a);
    const double gap_b = surprise_gap(b);
    return gap_a != gap_b ? gap_a < gap_b : likelier(a, b);
  });
  candidates.resize(count_of_mass(candidates, p));
  std::sort(candidates.begin(), candidates.end(), likelier);
}

void LazyOrder::sort_through(size_t index) {
  CHECK(index < candidates_.size());
  while (index >= num_sorted_) {
    const size_t next = std::min(candidates_.size(), std::max(kFirstSorted, 4 * num_sorted_));
    const auto begin = candidates_.begin() + static_cast<int64_t>(num_sorted_);
    const auto end = candidates_.begin() + static_cast<int64_t>(next);
    if (next < candidates_.size()) std::nth_element(begin, end, candidates_.end(), likelier);
    std::sort(begin, end, likelier);
    num_sorted_ = next;
  }
}

}  // namespace quire
