#include "decoding/sampler.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/check.h"
#include "base/random.h"
#include "decoding/exp_of_negative.h"
#include "decoding/logit_spread.h"
#include "decoding/xtc.h"

namespace quire {
namespace {

constexpr float kImpossible = -std::numeric_limits<float>::infinity();

// Loops over a vocabulary keep a few partial results side by side, so that the compiler makes vectors of them; their
// number is fixed, and with it the order of every sum.
constexpr size_t kLanes = 16;

// Of one token, in [0, 1).
struct Random {
  double of_draw = 0.0;
  double of_xtc = 1.0;  // compared with the probability of XTC
};

// Counters of a seed from here on are those of XTC; below it, those of draws.
constexpr uint64_t kXtcCounters = uint64_t{1} << 63;

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

// allowed: as sample() takes it.
void exclude_others(std::span<const uint64_t> allowed, std::span<float> logits) {
  constexpr size_t kBits = 64;
  for (size_t word = 0; word < allowed.size(); ++word) {
    const std::span<float> part = logits.subspan(word * kBits, std::min(kBits, logits.size() - word * kBits));
    if (allowed[word] == 0) {
      std::fill(part.begin(), part.end(), kImpossible);
    } else if (allowed[word] != ~uint64_t{0}) {
      for (size_t i = 0; i < part.size(); ++i) {
        if (((allowed[word] >> i) & 1) == 0) part[i] = kImpossible;
      }
    }
  }
}

// The token at which the sum of probabilities passes `target`, in order of ids.
int32_t pick(std::span<const float> probabilities, double target) {
  int32_t last = 0;
  for (size_t i = 0; i < probabilities.size(); ++i) {
    if (probabilities[i] == 0.0f) continue;
    last = static_cast<int32_t>(i);
    target -= static_cast<double>(probabilities[i]);
    if (target < 0.0) break;
  }
  return last;
}

// All that the filters may keep, in no order. The tokens below the floor have together less mass than top-p leaves out,
// so top-p keeps none of them.
void collect_likely(const SamplingParams& params, std::span<const float> logits, double mass, SamplerScratch& scratch) {
  scratch.candidates.clear();
  float floor = 0.0f;
  if (params.typical_p >= 1.0f && params.top_p < 1.0f) {
    floor = static_cast<float>(0.999 * (1.0 - params.top_p) * mass / static_cast<double>(logits.size()));
  }
  for (size_t i = 0; i < logits.size(); ++i) {
    if (scratch.probabilities[i] > floor) {
      scratch.candidates.push_back({static_cast<int32_t>(i), logits[i], scratch.probabilities[i]});
    }
  }
}

// Leaves probabilities normalised.
void filter_typical(std::vector<Candidate>& candidates, double mass, float p) {
  std::sort(candidates.begin(), candidates.end(), likelier);
  for (Candidate& candidate : candidates) candidate.probability = static_cast<float>(candidate.probability / mass);
  keep_typical(candidates, p);
}

// top-p, min-p, XTC and the draw walk from the likeliest down, and bring into order only what they look at. `mass`: of
// the candidates; there is at least one.
int32_t pick_among_candidates(const SamplingParams& params, std::vector<Candidate>& candidates, const Random& random,
                              double mass) {
  LazyOrder order(candidates);
  const double wanted = params.top_p < 1.0f ? params.top_p * mass : std::numeric_limits<double>::infinity();
  const float floor = params.min_p * order.at(0).probability;
  size_t count = 0;
  if (params.top_p < 1.0f || params.min_p > 0.0f) {
    for (mass = 0.0; count < candidates.size() && mass < wanted; ++count) {
      if (order.at(count).probability < floor) break;
      mass += order.at(count).probability;
    }
  } else {
    count = candidates.size();
  }
  size_t first = 0;
  if (random.of_xtc < params.xtc.probability) {
    first = num_top_choices(order, count, mass, params.xtc.threshold);
    for (size_t i = 0; i < first; ++i) mass -= order.at(i).probability;
  }
  double target = random.of_draw * mass;
  for (size_t i = first; i < count; ++i) {
    target -= order.at(i).probability;
    if (target < 0.0) return order.at(i).id;
  }
  return order.at(count - 1).id;
}

// What a distribution is drawn from: the tokens from a least logit on, and how their probabilities follow from logits.
// Relative to the likeliest token's probability, which is 1 here. The scale is finite: kMinTemperature.
struct Softmax {
  float top = 0.0f;
  float scale = 1.0f;
  float least = kImpossible;

  float operator()(float logit) const { return logit < least ? 0.0f : exp_of_negative((logit - top) * scale); }
};

Softmax softmax_of(const SamplingParams& params, std::span<const float> logits, float top) {
  Softmax softmax{.top = top, .scale = 1.0f / params.temperature};
  if (params.dynatemp.range > 0.0f) {
    softmax.scale = 1.0f / dynamic_temperature(logits, top, params.temperature, params.dynatemp);
  }
  if (params.top_n_sigma > 0.0f) softmax.least = top_n_sigma_floor(logits, top, params.top_n_sigma);
  return softmax;
}

bool is_drawable(double mass) { return mass > 0.0 && std::isfinite(mass); }

// The probabilities of all tokens, and their sum.
double weigh_all(std::span<const float> logits, Softmax softmax, SamplerScratch& scratch) {
  scratch.probabilities.resize(logits.size());
  for (size_t i = 0; i < logits.size(); ++i) scratch.probabilities[i] = softmax(logits[i]);
  return sum_of(scratch.probabilities);
}

// `top`: the greatest logit, finite; the others are finite or -infinity. Nothing when the distribution has no mass to
// draw from.
std::optional<int32_t> draw(const SamplingParams& params, std::span<const float> logits, float top,
                            const Random& random, SamplerScratch& scratch) {
  const Softmax softmax = softmax_of(params, logits, top);
  std::vector<Candidate>& candidates = scratch.candidates;
  double mass = 0.0;
  if (params.top_k > 0 && static_cast<size_t>(params.top_k) < logits.size()) {
    collect_top_k(logits, static_cast<size_t>(params.top_k), candidates);
    std::erase_if(candidates, [&](const Candidate& candidate) { return candidate.logit < softmax.least; });
    for (Candidate& candidate : candidates) candidate.probability = softmax(candidate.logit);
    mass = mass_of(candidates);
    if (!is_drawable(mass)) return std::nullopt;
  } else {
    mass = weigh_all(logits, softmax, scratch);
    if (!is_drawable(mass)) return std::nullopt;
    const bool keeps_all = params.top_p >= 1.0f && params.min_p <= 0.0f && params.typical_p >= 1.0f;
    if (keeps_all && random.of_xtc >= params.xtc.probability) return pick(scratch.probabilities, random.of_draw * mass);
    collect_likely(params, logits, mass, scratch);
  }
  if (params.typical_p < 1.0f) {
    filter_typical(candidates, mass, params.typical_p);
    mass = mass_of(candidates);
  }
  return pick_among_candidates(params, candidates, random, mass);
}

std::optional<int32_t> draw_by(Mirostat& mirostat, const SamplingParams& params, std::span<const float> logits,
                               float top, double random, SamplerScratch& scratch) {
  const double mass = weigh_all(logits, softmax_of(params, logits, top), scratch);
  if (!is_drawable(mass)) return std::nullopt;
  scratch.candidates.clear();
  for (size_t i = 0; i < logits.size(); ++i) {
    const float probability = scratch.probabilities[i];
    if (probability > 0.0f) scratch.candidates.push_back({static_cast<int32_t>(i), logits[i], probability});
  }
  LazyOrder order(scratch.candidates);
  return mirostat.draw(order, scratch.candidates.size(), mass, logits.size(), random);
}

}  // namespace

Sampler::Sampler(SamplingParams params, uint64_t seed, std::span<const int32_t> prompt, std::vector<int32_t> eog_ids)
    : params_(std::move(params)),
      seed_(params_.seed.value_or(seed)),
      eog_ids_(std::move(eog_ids)),
      bad_words_(params_.bad_words) {
  if (params_.dry.is_on()) dry_.emplace(params_.dry, prompt);
  if (params_.mirostat.version != 0) mirostat_.emplace(params_.mirostat);
  if (params_.repetition_penalty == 1.0f) return;
  prompt_.assign(prompt.begin(), prompt.end());
  std::sort(prompt_.begin(), prompt_.end());
  prompt_.erase(std::unique(prompt_.begin(), prompt_.end()), prompt_.end());
  prompt_.shrink_to_fit();
}

std::optional<SampledToken> Sampler::sample(std::span<const float> logits, SamplerScratch& scratch,
                                            std::span<const uint64_t> allowed) {
  std::span<const float> prepared = logits;
  const std::optional<float> top = prepare(prepared, scratch, allowed);
  if (!top) return std::nullopt;
  const std::optional<int32_t> id = choose(prepared, *top, scratch);
  if (!id) return std::nullopt;
  return take(logits, *id, scratch);
}

SampledToken Sampler::take(std::span<const float> logits, int32_t id, SamplerScratch& scratch) {
  SampledToken token{.id = id, .top = {}};
  if (params_.num_logprobs >= 0 && !params_.logprob_token_ids.empty()) {
    token = report_token(logits, id, params_.logprob_token_ids, scratch).value();
  } else if (params_.num_logprobs >= 0) {
    token = report_token(logits, id, params_.num_logprobs, scratch).value();
  }
  accept(id);
  return token;
}

bool Sampler::is_typical(std::span<const float> logits, int32_t id, const TypicalAcceptance& rule,
                         SamplerScratch& scratch, std::span<const uint64_t> allowed) const {
  if (mirostat_ && !params_.is_greedy()) return false;
  const std::optional<float> top = prepare(logits, scratch, allowed);
  if (!top) return false;
  if (params_.is_greedy()) return id == index_of(logits, *top);
  // Relative to the likeliest token's probability.
  const float scale = 1.0f / params_.temperature;
  double mass = 0.0;
  double weighted = 0.0;  // sum of probability times logarithm
  for (const float logit : logits) {
    if (logit == kImpossible) continue;
    const float log = (logit - *top) * scale;
    const auto probability = static_cast<double>(exp_of_negative(log));
    mass += probability;
    weighted += probability * static_cast<double>(log);
  }
  const double entropy = std::log(mass) - weighted / mass;
  const float of_draft = exp_of_negative((logits[static_cast<size_t>(id)] - *top) * scale);
  const double bound = std::min<double>(rule.threshold, rule.alpha * std::exp(-entropy));
  return static_cast<double>(of_draft) / mass > bound;
}

// Makes `logits` those that tokens are chosen by, and returns the greatest; nothing when none can be chosen.
std::optional<float> Sampler::prepare(std::span<const float>& logits, SamplerScratch& scratch,
                                      std::span<const uint64_t> allowed) const {
  CHECK(logits.size() <= scratch.adjusted.capacity());
  float top = checked_maximum(logits);
  if (std::isfinite(top) && (!allowed.empty() || adjusts(num_generated_))) {
    const std::span<const float> given = logits;
    const auto adjust_given = [&] {
      copy_allowed(given, scratch.adjusted);
      exclude_others(allowed, scratch.adjusted);
      adjust(scratch.adjusted);
    };
    adjust_given();
    if (num_generated_ < params_.min_tokens) exclude_ends(scratch.adjusted);
    logits = scratch.adjusted;
    top = checked_maximum(logits);
    if (top == kImpossible && !allowed.empty() && num_generated_ < params_.min_tokens) {
      adjust_given();
      top = checked_maximum(logits);
    }
  }
  return std::isfinite(top) ? std::optional(top) : std::nullopt;
}

std::optional<int32_t> Sampler::choose(std::span<const float> logits, float top, SamplerScratch& scratch) {
  if (params_.is_greedy()) return index_of(logits, top);
  const auto counter = static_cast<uint64_t>(num_generated_);
  Random random{.of_draw = uniform(seed_, counter)};
  if (mirostat_) return draw_by(*mirostat_, params_, logits, top, random.of_draw, scratch);
  if (params_.xtc.probability > 0.0f) random.of_xtc = uniform(seed_, kXtcCounters + counter);
  return draw(params_, logits, top, random, scratch);
}

bool Sampler::has_penalties() const {
  return params_.repetition_penalty != 1.0f || params_.presence_penalty != 0.0f || params_.frequency_penalty != 0.0f;
}

bool Sampler::adjusts(int64_t num_generated) const {
  return params_.allowed_token_ids != nullptr || !params_.logit_bias.empty() || has_penalties() || dry_ ||
         !bad_words_.empty() || num_generated < params_.min_tokens;
}

std::optional<SamplingRow> Sampler::device_sampling(int64_t num_to_come) const {
  const int64_t num_generated = num_generated_ + num_to_come;
  if (adjusts(num_generated) || params_.num_logprobs >= 0) return std::nullopt;
  const bool has_host_filters = params_.typical_p < 1.0f || params_.top_n_sigma > 0.0f ||
                                params_.dynatemp.range > 0.0f || params_.xtc.probability > 0.0f || mirostat_;
  if (has_host_filters && !params_.is_greedy()) return std::nullopt;
  return SamplingRow{.random = uniform(seed_, static_cast<uint64_t>(num_generated)),
                     .temperature = params_.is_greedy() ? 0.0f : params_.temperature,
                     .top_k = params_.top_k,
                     .top_p = params_.top_p,
                     .min_p = params_.min_p};
}

void Sampler::accept(int32_t id) {
  if (has_penalties()) ++counts_[id];
  if (dry_) dry_->accept(id);
  bad_words_.accept(id);
  ++num_generated_;
}

void Sampler::adjust(std::span<float> logits) const {
  // A finite logit stays finite, or a token that is merely likely or unlikely would become certain or impossible; one
  // at -infinity stays impossible.
  constexpr float kMax = std::numeric_limits<float>::max();
  const auto change = [&](int32_t id, const auto& changed) {
    CHECK(id >= 0 && static_cast<size_t>(id) < logits.size());
    float& logit = logits[static_cast<size_t>(id)];
    if (logit != kImpossible) logit = std::clamp(changed(logit), -kMax, kMax);
  };
  for (const auto& [id, bias] : params_.logit_bias) {
    change(id, [bias = bias](float logit) { return logit + bias; });
  }
  if (const float penalty = params_.repetition_penalty; penalty != 1.0f) {
    const auto punished = [&](float logit) { return logit > 0.0f ? logit / penalty : logit * penalty; };
    for (const int32_t id : prompt_) change(id, punished);
    for (const auto& [id, count] : counts_) {
      if (!std::binary_search(prompt_.begin(), prompt_.end(), id)) change(id, punished);
    }
  }
  if (params_.presence_penalty != 0.0f || params_.frequency_penalty != 0.0f) {
    for (const auto& [id, count] : counts_) {
      const float penalty = params_.presence_penalty + params_.frequency_penalty * static_cast<float>(count);
      change(id, [&](float logit) { return logit - penalty; });
    }
  }
  if (dry_) {
    for (const auto& [id, penalty] : dry_->penalties()) {
      change(id,
             [penalty = penalty](float logit) { return static_cast<float>(std::max<double>(logit - penalty, -kMax)); });
    }
  }
  bad_words_.forbid(logits);
}

// The logits of the tokens that the request allows; all others are impossible.
void Sampler::copy_allowed(std::span<const float> logits, std::vector<float>& to) const {
  if (params_.allowed_token_ids == nullptr) return to.assign(logits.begin(), logits.end());
  to.assign(logits.size(), kImpossible);
  for (const int32_t id : *params_.allowed_token_ids) {
    CHECK(id >= 0 && static_cast<size_t>(id) < logits.size());
    to[static_cast<size_t>(id)] = logits[static_cast<size_t>(id)];
  }
}

void Sampler::exclude_ends(std::span<float> logits) const {
  for (const int32_t id : eog_ids_) {
    // A tokenizer may name tokens that its model does not have.
    if (id >= 0 && static_cast<size_t>(id) < logits.size()) logits[static_cast<size_t>(id)] = kImpossible;
  }
}

}  // namespace quire
