#include "decoding/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/error.h"
#include "decoding/random.h"

namespace quire {
namespace {

constexpr float kImpossible = -std::numeric_limits<float>::infinity();

bool likelier(const Candidate& a, const Candidate& b) { return a.logit != b.logit ? a.logit > b.logit : a.id < b.id; }

int32_t argmax(std::span<const float> logits) {
  return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
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

void keep_top_k(std::vector<Candidate>& candidates, int32_t k) {
  if (k > 0 && static_cast<size_t>(k) < candidates.size()) candidates.resize(k);
}

void keep_top_p(std::vector<Candidate>& candidates, float p) {
  if (p < 1.0f) candidates.resize(count_of_mass(candidates, p));
}

void keep_min_p(std::vector<Candidate>& candidates, float min_p) {
  if (min_p <= 0.0f) return;
  const float floor = min_p * candidates.front().probability;
  const auto end = std::find_if(candidates.begin() + 1, candidates.end(),
                                [&](const Candidate& candidate) { return candidate.probability < floor; });
  candidates.erase(end, candidates.end());
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
  bool any_finite = false;
  for (const float logit : logits) {
    if (std::isnan(logit) || logit == std::numeric_limits<float>::infinity()) return std::nullopt;
    any_finite = any_finite || logit != kImpossible;
  }
  if (!any_finite) return std::nullopt;

  SampledToken token;
  adjusted_.assign(logits.begin(), logits.end());
  adjust(adjusted_);
  token.id = params_.temperature == 0.0f ? argmax(adjusted_) : draw(adjusted_);
  if (params_.num_logprobs >= 0) token = report_token(logits, token.id, params_.num_logprobs);
  accept(token.id);
  return token;
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

int32_t Sampler::draw(std::vector<float>& logits) {
  candidates_.clear();
  for (size_t id = 0; id < logits.size(); ++id) {
    if (logits[id] != kImpossible) {
      candidates_.push_back({static_cast<int32_t>(id), logits[id] / params_.temperature, 0.0f});
    }
  }
  if (candidates_.empty()) return argmax(logits);
  // Only top-k bounds the number of candidates beforehand; the mass filters need all of them in order.
  if (params_.top_k > 0 && static_cast<size_t>(params_.top_k) < candidates_.size()) {
    std::nth_element(candidates_.begin(), candidates_.begin() + params_.top_k, candidates_.end(), likelier);
    keep_top_k(candidates_, params_.top_k);
  }
  std::sort(candidates_.begin(), candidates_.end(), likelier);
  normalise(candidates_);
  if (params_.typical_p < 1.0f) {
    keep_typical(candidates_, params_.typical_p);
    normalise(candidates_);
  }
  if (params_.top_p < 1.0f) {
    keep_top_p(candidates_, params_.top_p);
    normalise(candidates_);
  }
  keep_min_p(candidates_, params_.min_p);

  double mass = 0.0;
  for (const Candidate& candidate : candidates_) mass += candidate.probability;
  double target = uniform(seed_, static_cast<uint64_t>(num_generated_)) * mass;
  for (const Candidate& candidate : candidates_) {
    target -= candidate.probability;
    if (target < 0.0) return candidate.id;
  }
  return candidates_.back().id;
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
