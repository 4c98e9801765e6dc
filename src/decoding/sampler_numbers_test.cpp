// Any parameters that validate() lets through, over any logits: the sampler ends, and chooses what the steps of
// docs/sampling.md say when each is done the plain way.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "base/random.h"
#include "decoding/sampler.h"

namespace quire {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kMax = std::numeric_limits<float>::max();
constexpr float kMin = std::numeric_limits<float>::denorm_min();

// A sampler that sorts everything and computes in double.
struct PlainSampler {
  SamplingParams params;
  std::vector<int32_t> prompt;
  std::vector<int32_t> eog_ids;
  std::map<int32_t, int> counts = {};
  uint64_t num_generated = 0;
  bool is_close = false;  // whether rounding decided what the last choice was from

  struct Token {
    int32_t id;
    float logit;
    double probability;
  };

  std::optional<int32_t> sample(std::vector<float> logits) {
    if (!is_usable(logits)) return std::nullopt;
    adjust(logits);
    if (!is_usable(logits)) return std::nullopt;
    is_close = false;
    return params.temperature < 1e-5f ? sorted(logits).front().id : draw(logits);
  }

  void accept(int32_t id) {
    ++counts[id];
    ++num_generated;
  }

  static bool is_usable(const std::vector<float>& logits) {
    return std::ranges::none_of(logits, [](float x) { return std::isnan(x) || x == kInfinity; }) &&
           std::ranges::any_of(logits, [](float x) { return std::isfinite(x); });
  }

  static void set(float& logit, double value) {
    if (logit != -kInfinity) logit = static_cast<float>(std::clamp<double>(value, -kMax, kMax));
  }

  void adjust(std::vector<float>& logits) const {
    for (const auto& [id, bias] : params.logit_bias) set(logits[id], double{logits[id]} + bias);
    for (size_t id = 0; id < logits.size(); ++id) {
      const bool is_generated = counts.contains(static_cast<int32_t>(id));
      const bool is_seen = is_generated || std::ranges::count(prompt, static_cast<int32_t>(id)) > 0;
      const double penalty = params.repetition_penalty;
      if (is_seen) set(logits[id], logits[id] > 0 ? logits[id] / penalty : logits[id] * penalty);
      if (!is_generated) continue;
      const auto count = static_cast<float>(counts.at(static_cast<int32_t>(id)));
      set(logits[id], double{logits[id]} - (params.presence_penalty + params.frequency_penalty * count));
    }
    if (num_generated >= static_cast<uint64_t>(params.min_tokens)) return;
    for (const int32_t id : eog_ids) {
      if (id < static_cast<int32_t>(logits.size())) logits[id] = -kInfinity;
    }
  }

  std::vector<Token> sorted(const std::vector<float>& logits) const {
    const double top = *std::ranges::max_element(logits);
    std::vector<Token> tokens;
    for (size_t id = 0; id < logits.size(); ++id) {
      tokens.push_back({static_cast<int32_t>(id), logits[id], std::exp((logits[id] - top) / params.temperature)});
    }
    std::ranges::stable_sort(tokens, [](const Token& a, const Token& b) { return a.logit > b.logit; });
    return tokens;
  }

  static double mass_of(const std::vector<Token>& tokens) {
    return std::accumulate(tokens.begin(), tokens.end(), 0.0,
                           [](double sum, const Token& token) { return sum + token.probability; });
  }

  // The first tokens until they have this mass.
  static void keep_mass(std::vector<Token>& tokens, double wanted) {
    double mass = 0.0;
    const auto end = std::ranges::find_if(tokens, [&](const Token& token) {
      mass += token.probability;
      return mass >= wanted;
    });
    if (end != tokens.end()) tokens.erase(end + 1, tokens.end());
  }

  void keep_typical(std::vector<Token>& tokens) {
    std::erase_if(tokens, [](const Token& token) { return token.probability < 1e-37; });
    const double mass = mass_of(tokens);
    double entropy = 0.0;
    for (Token& token : tokens) {
      token.probability /= mass;
      entropy -= token.probability * std::log(token.probability);
    }
    const auto gap = [&](const Token& token) { return std::abs(-std::log(token.probability) - entropy); };
    std::ranges::stable_sort(tokens, {}, gap);
    const std::vector<Token> all = tokens;
    keep_mass(tokens, params.typical_p);
    if (tokens.size() < all.size()) {
      const Token& left_out = all[tokens.size()];
      is_close = left_out.logit != tokens.back().logit && gap(left_out) - gap(tokens.back()) < 1e-6;
    }
    std::ranges::stable_sort(
        tokens, [](const Token& a, const Token& b) { return a.logit != b.logit ? a.logit > b.logit : a.id < b.id; });
  }

  int32_t draw(const std::vector<float>& logits) {
    std::vector<Token> tokens = sorted(logits);
    const bool takes_k = params.top_k > 0 && static_cast<size_t>(params.top_k) < tokens.size();
    if (takes_k) tokens.resize(static_cast<size_t>(params.top_k));
    if (params.typical_p < 1.0f) keep_typical(tokens);
    const double least = double{params.min_p} * tokens.front().probability;
    const float top = tokens.front().logit;
    is_close = is_close || std::ranges::any_of(tokens, [&](const Token& token) {
                 return token.logit != top && std::abs(token.probability - least) < 1e-6 * least;
               });
    if (params.top_p < 1.0f) keep_mass(tokens, double{params.top_p} * mass_of(tokens));
    std::erase_if(tokens, [&](const Token& token) { return token.probability < least; });
    // Without a filter tokens are drawn in the order of their ids.
    if (!takes_k && params.typical_p >= 1.0f && params.top_p >= 1.0f && params.min_p <= 0.0f) {
      std::ranges::sort(tokens, {}, &Token::id);
    }
    double target = uniform(*params.seed, num_generated) * mass_of(tokens);
    int32_t last = -1;
    for (const Token& token : tokens) {
      if (token.probability < 1e-37) continue;
      last = token.id;
      target -= token.probability;
      if (target < 0.0) break;
    }
    return last;
  }
};

struct NamedLogits {
  std::string name;
  std::vector<float> row;
};

std::vector<NamedLogits> all_logits() {
  std::mt19937 random(3);
  const auto normal = [&](size_t size, float deviation) {
    std::vector<float> row(size);
    std::normal_distribution<float> distribution(0.0f, 1.0f);
    for (float& x : row) x = std::clamp(distribution(random) * deviation, -kMax, kMax);
    return row;
  };
  std::vector<float> masked = normal(300, 3.0f);
  for (size_t i = 0; i < masked.size(); i += i % 3 + 1) masked[i] = -kInfinity;
  std::vector<float> bad_end = normal(33, 3.0f);
  bad_end[32] = kNan;
  std::vector<float> bad_middle = normal(33, 3.0f);
  bad_middle[16] = kInfinity;
  return {{"ordinary", {1.0f, 3.0f, 2.0f, -1.0f, 0.5f}},
          {"many", normal(700, 3.0f)},
          {"masked", masked},
          {"wide", normal(64, 1e30f)},
          {"beyond", normal(64, 1e38f)},
          {"equal", std::vector<float>(8, 0.0f)},
          {"equal and large", std::vector<float>(8, kMax)},
          {"equal and low", std::vector<float>(8, -kMax)},
          {"both ends", {-kMax, kMax, 0.0f, -kMax, kMax}},
          {"denormal", {kMin, -kMin, 0.0f, -0.0f, 2 * kMin}},
          {"one token", {-5.0f}},
          {"one possible", {-kInfinity, -kInfinity, -kMax, -kInfinity}},
          {"none", {}},
          {"nothing possible", {-kInfinity, -kInfinity}},
          {"NaN", {1.0f, kNan, 2.0f}},
          {"-NaN first", {-kNan, 1.0f, 2.0f}},
          {"NaN last", bad_end},
          {"infinity", {kInfinity, 1.0f}},
          {"infinity in the middle", bad_middle}};
}

using Change = void (*)(SamplingParams&);

constexpr Change kFilters[] = {
    [](SamplingParams&) {},
    [](SamplingParams& p) { p.top_k = 1; },
    [](SamplingParams& p) { p.top_k = 2; },
    [](SamplingParams& p) { p.top_k = 1 << 30; },
    [](SamplingParams& p) { p.top_k = -1; },
    [](SamplingParams& p) { p.top_p = kMin; },
    [](SamplingParams& p) { p.top_p = 0.9f; },
    [](SamplingParams& p) { p.top_p = std::nextafter(1.0f, 0.0f); },
    [](SamplingParams& p) { p.min_p = kMin; },
    [](SamplingParams& p) { p.min_p = 0.1f; },
    [](SamplingParams& p) { p.min_p = 1.0f; },
    [](SamplingParams& p) { p.typical_p = kMin; },
    [](SamplingParams& p) { p.typical_p = 0.7f; },
    [](SamplingParams& p) {
      p.top_k = 40;
      p.typical_p = 0.95f;
      p.top_p = 0.9f;
      p.min_p = 0.05f;
    },
};

constexpr Change kPenalties[] = {
    [](SamplingParams&) {},
    [](SamplingParams& p) { p.repetition_penalty = 1e-38f; },
    [](SamplingParams& p) { p.repetition_penalty = kMin; },
    [](SamplingParams& p) { p.repetition_penalty = 10.0f; },
    [](SamplingParams& p) { p.presence_penalty = p.frequency_penalty = -2.0f; },
    [](SamplingParams& p) { p.presence_penalty = p.frequency_penalty = 2.0f; },
    [](SamplingParams& p) { p.min_tokens = 2; },
    [](SamplingParams& p) {
      p.logit_bias = {{0, 100.0f}, {0, 100.0f}};
      p.repetition_penalty = 1e-38f;
      p.frequency_penalty = -2.0f;
    },
};

constexpr float kTemperatures[] = {0.0f, kMin, 1e-39f, 1e-38f, 9e-6f, kMinTemperature, 0.7f, 1.0f, 100.0f};

// Three tokens in a row, which the penalties see.
void expect_plain(const NamedLogits& logits, const SamplingParams& params, const std::string& what) {
  const std::vector<int32_t> prompt = logits.row.empty() ? std::vector<int32_t>{} : std::vector<int32_t>{0, 0};
  const std::vector<int32_t> eog_ids = {0, 5000};
  Sampler sampler(params, 0, prompt, eog_ids);
  PlainSampler plain{params, prompt, eog_ids};
  SamplerScratch scratch(static_cast<int64_t>(logits.row.size()));
  for (int step = 0; step < 3; ++step) {
    const std::optional<SampledToken> got = sampler.sample(logits.row, scratch);
    const std::optional<int32_t> want = plain.sample(logits.row);
    ASSERT_EQ(got.has_value(), want.has_value()) << what << ", step " << step;
    if (!got) return;
    ASSERT_TRUE(plain.is_close || got->id == *want)
        << what << ", step " << step << ": " << got->id << " instead of " << *want;
    plain.accept(got->id);
    ASSERT_TRUE(std::isfinite(got->logprob)) << what << ", step " << step;
    ASSERT_LE(got->logprob, 0.0f) << what << ", step " << step;
    ASSERT_EQ(got->top.size(), std::min<size_t>(3, logits.row.size()));
    ASSERT_TRUE(std::ranges::is_sorted(got->top, std::greater<>(), &TokenLogprob::logprob)) << what;
  }
}

TEST(SamplerNumbers, HostileParametersOverHostileLogits) {
  const std::vector<NamedLogits> logits = all_logits();
  uint64_t seed = 1;
  for (const NamedLogits& row : logits) {
    for (const float temperature : kTemperatures) {
      for (size_t filter = 0; filter < std::size(kFilters); ++filter) {
        for (size_t penalty = 0; penalty < std::size(kPenalties); ++penalty) {
          SamplingParams params;
          params.temperature = temperature;
          params.seed = ++seed;
          params.num_logprobs = 3;
          kFilters[filter](params);
          if (!row.row.empty()) kPenalties[penalty](params);
          expect_plain(row, params,
                       row.name + ", temperature " + std::to_string(temperature) + ", filter " +
                           std::to_string(filter) + ", penalty " + std::to_string(penalty));
          if (HasFatalFailure()) return;
        }
      }
    }
  }
}

// A prompt's rows are reported without being sampled.
TEST(SamplerNumbers, ReportsNothingForLogitsWithoutADistribution) {
  for (const NamedLogits& logits : all_logits()) {
    if (logits.row.empty()) continue;
    SamplerScratch scratch(static_cast<int64_t>(logits.row.size()));
    const std::optional<SampledToken> report = report_token(logits.row, 0, 1000, scratch);
    ASSERT_EQ(report.has_value(), PlainSampler::is_usable(logits.row)) << logits.name;
    if (!report) continue;
    EXPECT_EQ(report->top.size(), logits.row.size()) << logits.name;
    EXPECT_EQ(std::isfinite(report->logprob), std::isfinite(logits.row[0])) << logits.name;
    for (const TokenLogprob& token : report->top) {
      EXPECT_FALSE(std::isnan(token.logprob)) << logits.name;
      EXPECT_EQ(token.logprob == -kInfinity, logits.row[token.id] == -kInfinity) << logits.name;
    }
  }
}

TEST(SamplerNumbers, OrderRefusesAnIndexPastTheCandidates) {
  std::vector<Candidate> candidates = {{0, 1.0f, 1.0f}};
  LazyOrder order(candidates);
  EXPECT_EQ(order.at(0).id, 0);
  EXPECT_DEATH(order.at(1), "index < ");
  candidates.clear();
  EXPECT_DEATH(LazyOrder(candidates).at(static_cast<size_t>(-1)), "index < ");
}

}  // namespace
}  // namespace quire
