#include "decoding/sampler.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/error.h"
#include "base/random.h"

namespace quire {
namespace {

constexpr float kImpossible = -std::numeric_limits<float>::infinity();

bool likelier(const Candidate& a, const Candidate& b) { return a.logit != b.logit ? a.logit > b.logit : a.id < b.id; }

// Loops over a vocabulary keep a few partial results side by side, so that the compiler makes vectors of them; their
// number is fixed, and with it the order of every sum.
constexpr size_t kLanes = 16;

// The greatest logit; NaN when one is NaN or +infinity, which no model means.
float checked_maximum(std::span<const float> logits) {
  std::array<float, kLanes> best;
  std::array<int, kLanes> bad{};
  best.fill(kImpossible);
  size_t i = 0;
  for (; i + kLanes <= logits.size(); i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) {
      const float x = logits[i + lane];
      best[lane] = x > best[lane] ? x : best[lane];
      bad[lane] |= x < std::numeric_limits<float>::infinity() ? 0 : 1;
    }
  }
  for (; i < logits.size(); ++i) {
    best[0] = std::max(best[0], logits[i]);
    bad[0] |= logits[i] < std::numeric_limits<float>::infinity() ? 0 : 1;
  }
  if (std::find(bad.begin(), bad.end(), 1) != bad.end()) return std::numeric_limits<float>::quiet_NaN();
  return *std::max_element(best.begin(), best.end());
}

double sum_of(std::span<const float> values) {
  std::array<double, kLanes> sums{};
  size_t i = 0;
  for (; i + kLanes <= values.size(); i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) sums[lane] += static_cast<double>(values[i + lane]);
  }
  for (; i < values.size(); ++i) sums[0] += static_cast<double>(values[i]);
  return std::accumulate(sums.begin(), sums.end(), 0.0);
}

double mass_of(const std::vector<Candidate>& candidates) {
  double mass = 0.0;
  for (const Candidate& candidate : candidates) mass += candidate.probability;
  return mass;
}

int32_t index_of(std::span<const float> logits, float value) {
  return static_cast<int32_t>(std::find(logits.begin(), logits.end(), value) - logits.begin());
}

void normalise(std::vector<Candidate>& candidates) {
  double sum = 0.0;
  const float top = candidates.front().logit;
  for (Candidate& candidate : candidates) {
    candidate.probability = std::exp(candidate.logit - top);
    sum += candidate.probability;
  }
  for (Candidate& candidate : candidates) candidate.probability = static_cast<float>(candidate.probability / sum);
}

// Number of leading candidates whose mass reaches p; at least 1.
size_t count_of_mass(const std::vector<Candidate>& candidates, float p) {
  double mass = 0.0;
  for (size_t i = 0; i < candidates.size(); ++i) {
    mass += candidates[i].probability;
    if (mass >= p) return i + 1;
  }
  return candidates.size();
}

// e^x for x <= 0, to about a unit in the last place: 2^n times a polynomial on half a unit around zero (Cody and Waite,
// "Software Manual for the Elementary Functions"). Plain arithmetic, which the compiler makes vectors of.
float exp_of_negative(float x) {
  constexpr float kLog2E = 1.44269504f;
  constexpr float kLn2High = 0.693145752f;
  constexpr float kLn2Low = 1.42860677e-6f;
  const float bounded = x < -87.0f ? -87.0f : x;
  const int n = static_cast<int>(bounded * kLog2E - 0.5f);  // rounds to nearest, for what is not positive
  const float r = (bounded - static_cast<float>(n) * kLn2High) - static_cast<float>(n) * kLn2Low;
  const float p =
      1.0f +
      r * (1.0f + r * (0.5f + r * (0.166666671f + r * (0.0416666716f + r * (0.00833333377f + r * 0.00138888892f)))));
  return x < -87.0f ? 0.0f : p * std::bit_cast<float>((n + 127) << 23);
}

// Candidates in descending order, sorted piece by piece as far as somebody looks.
class LazyOrder {
 public:
  explicit LazyOrder(std::vector<Candidate>& candidates) : candidates_(candidates) {}

  const Candidate& at(size_t index) {
    while (index >= num_sorted_) {
      const size_t next = std::min(candidates_.size(), std::max<size_t>(kFirst, 4 * num_sorted_));
      const auto begin = candidates_.begin() + static_cast<int64_t>(num_sorted_);
      const auto end = candidates_.begin() + static_cast<int64_t>(next);
      if (next < candidates_.size()) std::nth_element(begin, end, candidates_.end(), likelier);
      std::sort(begin, end, likelier);
      num_sorted_ = next;
    }
    return candidates_[index];
  }

 private:
  static constexpr size_t kFirst = 128;
  std::vector<Candidate>& candidates_;
  size_t num_sorted_ = 0;
};

void check_range(const char* field, double value, double low, double high) {
  if (!(value >= low && value <= high)) {
    fail(ErrorCode::kInvalidArgument, "{} is {}, it must be between {} and {}", field, value, low, high);
  }
}

double log_sum_exp(std::span<const float> logits, float top) {
  double sum = 0.0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - top);
  return top + std::log(sum);
}

}  // namespace

void SamplingParams::validate(int64_t vocab_size) const {
  check_range("temperature", temperature, 0.0, 100.0);
  check_range("top_k", top_k, -1, 1 << 30);
  if (!(top_p > 0.0f)) fail(ErrorCode::kInvalidArgument, "top_p is {}, it must be above 0 and at most 1", top_p);
  check_range("top_p", top_p, 0.0, 1.0);
  check_range("min_p", min_p, 0.0, 1.0);
  if (!(typical_p > 0.0f))
    fail(ErrorCode::kInvalidArgument, "typical_p is {}, it must be above 0 and at most 1", typical_p);
  check_range("typical_p", typical_p, 0.0, 1.0);
  if (!(repetition_penalty > 0.0f)) {
    fail(ErrorCode::kInvalidArgument, "repetition_penalty is {}, it must be above 0 and at most 10",
         repetition_penalty);
  }
  check_range("repetition_penalty", repetition_penalty, 0.0, 10.0);
  check_range("presence_penalty", presence_penalty, -2.0, 2.0);
  check_range("frequency_penalty", frequency_penalty, -2.0, 2.0);
  check_range("min_tokens", min_tokens, 0, 1 << 30);
  check_range("logprobs", num_logprobs, -1, static_cast<double>(vocab_size));
  for (const auto& [id, bias] : logit_bias) {
    if (id < 0 || id >= vocab_size) {
      fail(ErrorCode::kInvalidArgument, "logit_bias names token {}, the vocabulary has ids 0 to {}", id,
           vocab_size - 1);
    }
    check_range("logit_bias", bias, -100.0, 100.0);
  }
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
  std::stable_sort(candidates.begin(), candidates.end(),
                   [&](const Candidate& a, const Candidate& b) { return surprise_gap(a) < surprise_gap(b); });
  candidates.resize(count_of_mass(candidates, p));
  std::sort(candidates.begin(), candidates.end(), likelier);
}

Sampler::Sampler(SamplingParams params, uint64_t seed, std::span<const int32_t> prompt, std::vector<int32_t> eog_ids)
    : params_(std::move(params)), seed_(params_.seed.value_or(seed)), eog_ids_(std::move(eog_ids)) {
  if (params_.repetition_penalty != 1.0f) prompt_.insert(prompt.begin(), prompt.end());
}

std::optional<SampledToken> Sampler::sample(std::span<const float> logits) {
  const float top = checked_maximum(logits);
  if (std::isnan(top) || top == kImpossible) return std::nullopt;
  SampledToken token;
  if (params_.temperature == 0.0f && !adjusts(num_generated_)) {
    token.id = index_of(logits, top);
  } else {
    adjusted_.assign(logits.begin(), logits.end());
    adjust(adjusted_);
    const float adjusted_top = *std::max_element(adjusted_.begin(), adjusted_.end());
    const bool is_greedy = params_.temperature == 0.0f || adjusted_top == kImpossible;
    token.id = is_greedy ? index_of(adjusted_, adjusted_top) : draw(adjusted_top);
  }
  if (params_.num_logprobs >= 0) token = report_token(logits, token.id, params_.num_logprobs);
  accept(token.id);
  return token;
}

bool Sampler::adjusts(int64_t num_generated) const {
  return !params_.logit_bias.empty() || params_.repetition_penalty != 1.0f || params_.presence_penalty != 0.0f ||
         params_.frequency_penalty != 0.0f || num_generated < params_.min_tokens;
}

std::optional<SamplingRow> Sampler::wish(int64_t num_to_come) const {
  const int64_t num_generated = num_generated_ + num_to_come;
  if (adjusts(num_generated) || params_.typical_p < 1.0f || params_.num_logprobs >= 0) return std::nullopt;
  if (params_.temperature != 0.0f && !std::isfinite(1.0f / params_.temperature)) return std::nullopt;
  return SamplingRow{.random = uniform(seed_, static_cast<uint64_t>(num_generated)),
                     .temperature = params_.temperature,
                     .top_k = params_.top_k,
                     .top_p = params_.top_p,
                     .min_p = params_.min_p};
}

void Sampler::accept(int32_t id) {
  ++counts_[id];
  ++num_generated_;
}

void Sampler::adjust(std::vector<float>& logits) const {
  for (const auto& [id, bias] : params_.logit_bias) logits[id] += bias;
  if (const float penalty = params_.repetition_penalty; penalty != 1.0f) {
    const auto punish = [&](int32_t id) {
      logits[id] = logits[id] > 0.0f ? logits[id] / penalty : logits[id] * penalty;
    };
    for (const int32_t id : prompt_) punish(id);
    for (const auto& [id, count] : counts_) {
      if (!prompt_.contains(id)) punish(id);
    }
  }
  if (params_.presence_penalty != 0.0f || params_.frequency_penalty != 0.0f) {
    for (const auto& [id, count] : counts_) {
      logits[id] -= params_.presence_penalty + params_.frequency_penalty * static_cast<float>(count);
    }
  }
  if (num_generated_ < params_.min_tokens) {
    for (const int32_t id : eog_ids_) logits[id] = kImpossible;
  }
}

int32_t Sampler::draw(float top) {
  // Probabilities are relative to the likeliest token's, which is 1 here.
  const float scale = 1.0f / params_.temperature;
  const auto probability = [&](float logit) { return exp_of_negative((logit - top) * scale); };
  const double random = uniform(seed_, static_cast<uint64_t>(num_generated_));
  double mass = 0.0;
  if (params_.top_k > 0 && static_cast<size_t>(params_.top_k) < adjusted_.size()) {
    collect_top_k(static_cast<size_t>(params_.top_k));
    for (Candidate& candidate : candidates_) candidate.probability = probability(candidate.logit);
    mass = mass_of(candidates_);
  } else {
    probabilities_.resize(adjusted_.size());
    for (size_t i = 0; i < adjusted_.size(); ++i) probabilities_[i] = probability(adjusted_[i]);
    mass = sum_of(probabilities_);
    if (params_.top_p >= 1.0f && params_.min_p <= 0.0f && params_.typical_p >= 1.0f) return pick(random * mass);
    collect_likely(mass);
  }
  if (params_.typical_p < 1.0f) {
    std::sort(candidates_.begin(), candidates_.end(), likelier);
    normalise(candidates_);
    keep_typical(candidates_, params_.typical_p);
    mass = mass_of(candidates_);
  }
  return pick_among_candidates(random, mass);
}

// The token at which the sum of probabilities passes `target`, in order of ids.
int32_t Sampler::pick(double target) const {
  int32_t last = 0;
  for (size_t i = 0; i < probabilities_.size(); ++i) {
    if (probabilities_[i] == 0.0f) continue;
    last = static_cast<int32_t>(i);
    target -= static_cast<double>(probabilities_[i]);
    if (target < 0.0) break;
  }
  return last;
}

// The k likeliest, in no order.
void Sampler::collect_top_k(size_t k) {
  candidates_.clear();
  // Of equals the first stay, so only what is greater than the least of k known ones can matter.
  float least = kImpossible;
  const auto keep_best = [&] {
    const auto kth = candidates_.begin() + static_cast<int64_t>(k) - 1;
    std::nth_element(candidates_.begin(), kth, candidates_.end(), likelier);
    candidates_.resize(k);
    least = candidates_.back().logit;
  };
  for (size_t i = 0; i < adjusted_.size(); ++i) {
    if (!(adjusted_[i] > least)) continue;
    candidates_.push_back({static_cast<int32_t>(i), adjusted_[i], 0.0f});
    if (candidates_.size() == 2 * k + 256) keep_best();
  }
  if (candidates_.size() > k) keep_best();
}

// All that the filters may keep, in no order: those below the floor have together no more mass than top-p leaves out,
// so they are none of its.
void Sampler::collect_likely(double mass) {
  candidates_.clear();
  float floor = 0.0f;
  if (params_.typical_p >= 1.0f && params_.top_p < 1.0f) {
    floor = static_cast<float>(0.999 * (1.0 - params_.top_p) * mass / static_cast<double>(adjusted_.size()));
  }
  for (size_t i = 0; i < adjusted_.size(); ++i) {
    if (probabilities_[i] > floor) {
      candidates_.push_back({static_cast<int32_t>(i), adjusted_[i], probabilities_[i]});
    }
  }
}

// top-p, min-p and the draw walk from the likeliest down, and bring into order only what they look at.
int32_t Sampler::pick_among_candidates(double random, double mass) {
  LazyOrder order(candidates_);
  const double wanted = params_.top_p < 1.0f ? params_.top_p * mass : std::numeric_limits<double>::infinity();
  const float floor = params_.min_p * order.at(0).probability;
  size_t count = 0;
  if (params_.top_p < 1.0f || params_.min_p > 0.0f) {
    for (mass = 0.0; count < candidates_.size() && mass < wanted; ++count) {
      if (order.at(count).probability < floor) break;
      mass += order.at(count).probability;
    }
  } else {
    count = candidates_.size();
  }
  double target = random * mass;
  for (size_t i = 0; i < count; ++i) {
    target -= order.at(i).probability;
    if (target < 0.0) return order.at(i).id;
  }
  return order.at(count - 1).id;
}

SampledToken report_token(std::span<const float> logits, int32_t id, int num_top) {
  SampledToken token;
  token.id = id;
  const float top = *std::max_element(logits.begin(), logits.end());
  const double total = log_sum_exp(logits, top);
  const auto logprob = [&](int32_t other) { return static_cast<float>(logits[other] - total); };
  token.logprob = logprob(id);
  token.rank =
      static_cast<int32_t>(std::count_if(logits.begin(), logits.end(), [&](float x) { return x > logits[id]; }));
  const size_t count = std::min<size_t>(num_top, logits.size());
  std::vector<int32_t> ids(logits.size());
  std::iota(ids.begin(), ids.end(), 0);
  std::partial_sort(ids.begin(), ids.begin() + static_cast<int64_t>(count), ids.end(),
                    [&](int32_t a, int32_t b) { return logits[a] != logits[b] ? logits[a] > logits[b] : a < b; });
  for (size_t i = 0; i < count; ++i) token.top.push_back({ids[i], logprob(ids[i])});
  return token;
}

}  // namespace quire
