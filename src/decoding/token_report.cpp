#include "decoding/token_report.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "base/check.h"

namespace quire {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

double log_sum_exp(std::span<const float> logits, float top) {
  double sum = 0.0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - top);
  return top + std::log(sum);
}

// A logit that is a number has a logarithm that is one.
float log_probability(float logit, double total) {
  if (logit == -kInfinity) return -kInfinity;
  return static_cast<float>(std::max<double>(logit - total, std::numeric_limits<float>::lowest()));
}

// In descending order, those at -infinity last.
void collect_likeliest(std::span<const float> logits, size_t count, std::vector<Candidate>& likeliest) {
  likeliest.clear();
  if (count == 0) return;
  collect_top_k(logits, count, likeliest);
  std::sort(likeliest.begin(), likeliest.end(), likelier);
  for (size_t i = 0; likeliest.size() < count; ++i) {
    if (logits[i] == -kInfinity) likeliest.push_back({static_cast<int32_t>(i), logits[i], 0.0f});
  }
}

// The report without other tokens, and the logarithm of the distribution's mass.
struct Report {
  SampledToken token;
  double total = 0.0;
};

std::optional<Report> report_alone(std::span<const float> logits, int32_t id) {
  CHECK(id >= 0 && static_cast<size_t>(id) < logits.size());
  const float top = checked_maximum(logits);
  if (!std::isfinite(top)) return std::nullopt;
  const double total = log_sum_exp(logits, top);
  SampledToken token;
  token.id = id;
  token.logprob = log_probability(logits[id], total);
  token.rank =
      static_cast<int32_t>(std::count_if(logits.begin(), logits.end(), [&](float x) { return x > logits[id]; }));
  return Report{std::move(token), total};
}

SampledToken with_others(Report report, std::span<const Candidate> others) {
  for (const Candidate& other : others) {
    report.token.top.push_back({other.id, log_probability(other.logit, report.total)});
  }
  return std::move(report.token);
}

}  // namespace

float checked_maximum(std::span<const float> logits) {
  // A few partial results side by side, so that the compiler makes vectors of them.
  constexpr size_t kLanes = 16;
  std::array<float, kLanes> best;
  std::array<int, kLanes> bad{};
  best.fill(-kInfinity);
  size_t i = 0;
  for (; i + kLanes <= logits.size(); i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) {
      const float x = logits[i + lane];
      best[lane] = x > best[lane] ? x : best[lane];
      bad[lane] |= x < kInfinity ? 0 : 1;
    }
  }
  for (; i < logits.size(); ++i) {
    best[0] = std::max(best[0], logits[i]);
    bad[0] |= logits[i] < kInfinity ? 0 : 1;
  }
  if (std::find(bad.begin(), bad.end(), 1) != bad.end()) return std::numeric_limits<float>::quiet_NaN();
  return *std::max_element(best.begin(), best.end());
}

std::optional<SampledToken> report_token(std::span<const float> logits, int32_t id, int count,
                                         SamplerScratch& scratch) {
  std::optional<Report> report = report_alone(logits, id);
  if (!report) return std::nullopt;
  collect_likeliest(logits, std::min<size_t>(count, logits.size()), scratch.candidates);
  return with_others(std::move(*report), scratch.candidates);
}

std::optional<SampledToken> report_token(std::span<const float> logits, int32_t id, std::span<const int32_t> others,
                                         SamplerScratch& scratch) {
  std::optional<Report> report = report_alone(logits, id);
  if (!report) return std::nullopt;
  scratch.candidates.clear();
  for (const int32_t other : others) {
    CHECK(other >= 0 && static_cast<size_t>(other) < logits.size());
    scratch.candidates.push_back({other, logits[other], 0.0f});
  }
  std::sort(scratch.candidates.begin(), scratch.candidates.end(), likelier);
  return with_others(std::move(*report), scratch.candidates);
}

}  // namespace quire
