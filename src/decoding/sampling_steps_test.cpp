// The steps that peers have besides the common ones: each does what its source says, here done the plain way.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <random>
#include <vector>

#include "base/error.h"
#include "base/random.h"
#include "decoding/dry.h"
#include "decoding/logit_spread.h"
#include "decoding/sampler.h"

namespace quire {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
const std::vector<float> kLogits = {1.0f, 3.0f, 2.0f, -1.0f, 0.5f};

std::vector<double> softmax(const std::vector<float>& logits, double temperature) {
  std::vector<double> p;
  double sum = 0.0;
  for (const float logit : logits) sum += p.emplace_back(std::exp(logit / temperature));
  for (double& value : p) value /= sum;
  return p;
}

SamplingParams with(const std::function<void(SamplingParams&)>& change) {
  SamplingParams params;
  change(params);
  params.validate(std::ssize(kLogits));
  return params;
}

int32_t next(Sampler& sampler, const std::vector<float>& logits = kLogits) {
  SamplerScratch scratch(std::ssize(logits));
  return sampler.sample(logits, scratch)->id;
}

std::vector<double> frequencies(const SamplingParams& params, int n = 20000) {
  std::vector<double> shares(kLogits.size());
  for (int i = 0; i < n; ++i) {
    Sampler sampler(params, static_cast<uint64_t>(i), {}, {});
    shares[static_cast<size_t>(next(sampler))] += 1.0 / n;
  }
  return shares;
}

// Five standard deviations.
void expect_near(const std::vector<double>& shares, const std::vector<double>& expected, int n = 20000) {
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_NEAR(shares[i], expected[i], 1e-9 + 5.0 * std::sqrt(expected[i] * (1.0 - expected[i]) / n)) << "token " << i;
  }
}

std::vector<double> only(std::vector<double> p, const std::vector<size_t>& kept) {
  double mass = 0.0;
  for (const size_t i : kept) mass += p[i];
  for (size_t i = 0; i < p.size(); ++i) p[i] = std::ranges::count(kept, i) > 0 ? p[i] / mass : 0.0;
  return p;
}

TEST(SamplingSteps, OnlyAllowedTokens) {
  const SamplingParams params = with([](auto& p) {
    p.allowed_token_ids = std::make_shared<const std::vector<int32_t>>(std::vector<int32_t>{4, 0, 3, 0});
    p.logit_bias = {{0, 1.0f}, {1, 50.0f}};
  });
  std::vector<float> biased = kLogits;
  biased[0] += 1.0f;
  expect_near(frequencies(params), only(softmax(biased, 1.0), {0, 3, 4}));
}

TEST(SamplingSteps, BadWordsNeverComplete) {
  const auto words = [](TokenSequences sequences) {
    return with([&](auto& p) {
      p.temperature = 0.0f;
      p.bad_words = std::make_shared<const TokenSequences>(std::move(sequences));
    });
  };
  const auto answer = [](const SamplingParams& params) {
    Sampler sampler(params, 1, std::vector<int32_t>{1, 1}, {});
    std::vector<int32_t> tokens;
    for (int i = 0; i < 6; ++i) tokens.push_back(next(sampler));
    return tokens;
  };
  using Tokens = std::vector<int32_t>;
  EXPECT_EQ(answer(words({{1}})), Tokens({2, 2, 2, 2, 2, 2}));
  EXPECT_EQ(answer(words({{1, 1}})), Tokens({1, 2, 1, 2, 1, 2})) << "the prompt does not count";
  EXPECT_EQ(answer(words({{1, 1, 1}, {}, {1, 2}})), Tokens({1, 1, 0, 1, 1, 0}));
  EXPECT_EQ(answer(words({{1, 1, 1, 1}, {1, 1}})), Tokens({1, 2, 1, 2, 1, 2}));
}

// Of every token, the longest repetition that it would lengthen, found without any idea.
std::map<int32_t, double> plain_penalties(const DryParams& params, std::vector<int32_t> text) {
  const auto window = params.penalty_last_n < 0 ? text.size() : static_cast<size_t>(params.penalty_last_n);
  if (text.size() > window) text.erase(text.begin(), text.end() - static_cast<std::ptrdiff_t>(window));
  const size_t size = text.size();
  const auto allowed = static_cast<size_t>(params.allowed_length);
  if (size <= allowed) return {};
  size_t longest = size;
  for (size_t begin = size; begin-- > 0 && longest == size;) {
    for (const std::vector<int32_t>& breaker : *params.breakers) {
      if (begin + breaker.size() > size || !std::equal(breaker.begin(), breaker.end(), text.begin() + begin)) continue;
      longest = std::min(longest, size - begin - breaker.size());
    }
  }
  std::map<int32_t, double> penalties;
  for (size_t end = 1; end < size && longest >= allowed; ++end) {
    size_t length = 0;
    while (length < std::min(end, longest) && text[end - 1 - length] == text[size - 1 - length]) ++length;
    if (length < allowed) continue;
    double& penalty = penalties[text[end]];
    penalty = std::max(penalty, params.multiplier * std::pow(params.base, static_cast<double>(length - allowed)));
  }
  return penalties;
}

TEST(SamplingSteps, DryPunishesWhatLengthensARepetition) {
  std::mt19937 random(5);
  int num_penalties = 0;
  for (int round = 0; round < 400; ++round) {
    DryParams params{.multiplier = 0.8f, .base = 1.5f};
    params.allowed_length = static_cast<int32_t>(random() % 4);
    params.penalty_last_n = random() % 3 == 0 ? static_cast<int32_t>(random() % 30) : -1;
    TokenSequences breakers;
    if (random() % 2 == 0) breakers = {{3}, {0, 1}, {0, 1, 2}, {3, 0}};
    std::ranges::sort(breakers);
    params.breakers = std::make_shared<const TokenSequences>(breakers);
    const int num_kinds = 2 + static_cast<int>(random() % 4);
    std::vector<int32_t> text(random() % 20);
    for (int32_t& token : text) token = static_cast<int32_t>(random()) & 0x7fffffff;
    for (int32_t& token : text) token %= num_kinds;
    DryHistory history(params, text);
    for (int i = 0; i < 60; ++i) {
      std::map<int32_t, double> given;
      for (const auto& [id, penalty] : history.penalties()) given[id] = penalty;
      ASSERT_EQ(given, plain_penalties(params, text)) << "round " << round << ", token " << i;
      num_penalties += static_cast<int>(given.size());
      text.push_back(static_cast<int32_t>(random() % static_cast<unsigned>(num_kinds)));
      history.accept(text.back());
    }
  }
  EXPECT_GT(num_penalties, 10000);
}

TEST(SamplingSteps, DryEndsALoop) {
  const SamplingParams params = with([](auto& p) {
    p.temperature = 0.0f;
    p.dry.multiplier = 1.5f;
  });
  Sampler sampler(params, 1, std::vector<int32_t>{1}, {});
  std::vector<int32_t> tokens;
  for (int i = 0; i < 4; ++i) tokens.push_back(next(sampler));
  EXPECT_EQ(tokens, std::vector<int32_t>({1, 1, 2, 1})) << "a third 1 lengthens a repetition of two";
}

// A whole context of one token: the longest repetition there is.
TEST(SamplingSteps, DryStaysFinite) {
  const SamplingParams params = with([](auto& p) {
    p.dry.multiplier = 100.0f;
    p.dry.base = 100.0f;
  });
  const std::vector<int32_t> prompt(100000, 1);
  Sampler sampler(params, 1, prompt, {});
  EXPECT_NE(next(sampler), 1);
  const std::vector<float> certain = {-kInfinity, 3.0f, -kInfinity, -kInfinity, -kInfinity};
  EXPECT_EQ(next(sampler, certain), 1) << "unlikely is not impossible";
}

TEST(SamplingSteps, XtcLeavesOutTopChoices) {
  const std::vector<double> p = softmax(kLogits, 1.0);
  const auto params = [](float probability, float threshold) {
    return with([&](auto& to) { to.xtc = {.probability = probability, .threshold = threshold}; });
  };
  expect_near(frequencies(params(1.0f, 0.2f)), only(p, {0, 2, 3, 4}));
  expect_near(frequencies(params(1.0f, 0.5f)), p);
  expect_near(frequencies(params(1.0f, 0.0f)), only(p, {3}));
  expect_near(frequencies(params(0.0f, 0.0f)), p);
  std::vector<double> mixed = only(p, {0, 2, 3, 4});
  for (size_t i = 0; i < p.size(); ++i) mixed[i] = 0.25 * mixed[i] + 0.75 * p[i];
  expect_near(frequencies(params(0.25f, 0.2f)), mixed);
  // Of what the other filters keep, by its own mass.
  SamplingParams filtered = params(1.0f, 0.3f);
  filtered.top_k = 2;
  expect_near(frequencies(filtered), only(p, {1, 2}));
  filtered.xtc.threshold = 0.25f;
  expect_near(frequencies(filtered), only(p, {2}));
}

TEST(SamplingSteps, TopNSigma) {
  // The mean is 1.1, the standard deviation 1.356.
  const auto params = [](float n) {
    return with([&](auto& p) {
      p.top_n_sigma = n;
      p.temperature = 2.0f;
    });
  };
  const std::vector<double> p = softmax(kLogits, 2.0);
  expect_near(frequencies(params(0.7f)), only(p, {1}));
  expect_near(frequencies(params(1.0f)), only(p, {1, 2}));
  expect_near(frequencies(params(1.5f)), only(p, {0, 1, 2}));
  expect_near(frequencies(params(-1.0f)), p);
  SamplingParams filtered = params(1.0f);
  filtered.top_k = 4;
  expect_near(frequencies(filtered), only(p, {1, 2}));
  EXPECT_EQ(top_n_sigma_floor(std::vector<float>{-kInfinity, 2.0f, -kInfinity}, 2.0f, 1.0f), 2.0f);
}

TEST(SamplingSteps, DynamicTemperatureFollowsTheEntropy) {
  const std::vector<double> p = softmax(kLogits, 1.0);
  double entropy = 0.0;
  for (const double value : p) entropy -= value * std::log(value);
  const double share = entropy / std::log(5.0);
  const double temperature = 0.5 + 2.0 * std::pow(share, 0.7);
  EXPECT_NEAR(dynamic_temperature(kLogits, 3.0f, 1.5f, {.range = 1.0f, .exponent = 0.7f}), temperature, 1e-5);
  const SamplingParams params = with([](auto& to) {
    to.temperature = 1.5f;
    to.dynatemp = {.range = 1.0f, .exponent = 0.7f};
  });
  expect_near(frequencies(params), softmax(kLogits, temperature));
  const std::vector<float> equal(9, 2.0f);
  EXPECT_NEAR(dynamic_temperature(equal, 2.0f, 1.5f, {.range = 5.0f}), 6.5, 1e-4);
  const std::vector<float> certain = {0.0f, 500.0f};
  EXPECT_EQ(dynamic_temperature(certain, 500.0f, 1.5f, {.range = 5.0f}), kMinTemperature);
}

// A vocabulary by Zipf's law, whose surprise mirostat can choose.
TEST(SamplingSteps, MirostatKeepsTheSurprise) {
  std::vector<float> logits(2000);
  for (size_t i = 0; i < logits.size(); ++i) logits[i] = -1.1f * std::log(static_cast<float>(i + 1));
  const std::vector<double> p = softmax(logits, 1.0);
  for (const int version : {1, 2}) {
    for (const float tau : {2.0f, 4.0f, 6.0f}) {
      SamplingParams params;
      params.mirostat = {.version = version, .tau = tau};
      Sampler sampler(params, 3, {}, {});
      double surprise = 0.0;
      for (int i = 0; i < 400; ++i) {
        const auto id = static_cast<size_t>(next(sampler, logits));
        if (i >= 100) surprise -= std::log2(p[id]) / 300.0;
      }
      // By probabilities of all tokens: those of the kept ones are less surprising.
      EXPECT_NEAR(surprise, tau, 1.5) << "version " << version;
    }
  }
  SamplingParams certain;
  certain.mirostat = {.version = 2, .tau = 0.0f};
  Sampler sampler(certain, 3, {}, {});
  for (int i = 0; i < 20; ++i) EXPECT_EQ(next(sampler), 1);
}

// Mu starts at twice tau: three tokens are within it, then the surprise of the chosen one moves it.
TEST(SamplingSteps, MirostatTwoByHand) {
  const std::vector<double> p = softmax(kLogits, 1.0);
  const SamplingParams params = with([](auto& to) { to.mirostat = {.version = 2, .tau = 1.8f, .eta = 0.5f}; });
  for (uint64_t seed = 0; seed < 50; ++seed) {
    Sampler sampler(params, seed, {}, {});
    double mu = 3.6;
    for (uint64_t i = 0; i < 20; ++i) {
      const std::vector<size_t> order = {1, 2, 0, 4, 3};
      std::vector<size_t> kept;
      for (const size_t id : order) {
        if (kept.empty() || -std::log2(p[id]) <= mu) kept.push_back(id);
      }
      const std::vector<double> shares = only(p, kept);
      double target = uniform(seed, i);
      size_t expected = kept.front();
      for (const size_t id : kept) {
        expected = id;
        if ((target -= shares[id]) < 0.0) break;
      }
      ASSERT_EQ(static_cast<size_t>(next(sampler)), expected) << "seed " << seed << ", token " << i;
      mu -= 0.5 * (-std::log2(shares[expected]) - static_cast<double>(1.8f));
    }
  }
}

TEST(SamplingSteps, ReportsTheTokensThatWereAskedFor) {
  const SamplingParams params = with([](auto& p) {
    p.num_logprobs = 0;
    p.logprob_token_ids = {3, 1};
  });
  Sampler sampler(params, 1, {}, {});
  SamplerScratch scratch(std::ssize(kLogits));
  const SampledToken token = *sampler.sample(kLogits, scratch);
  const std::vector<double> p = softmax(kLogits, 1.0);
  ASSERT_EQ(token.top.size(), 2u);
  EXPECT_EQ(token.top[0].id, 1);
  EXPECT_NEAR(token.top[0].logprob, std::log(p[1]), 1e-6);
  EXPECT_EQ(token.top[1].id, 3);
  EXPECT_NEAR(token.top[1].logprob, std::log(p[3]), 1e-6);
}

TEST(SamplingSteps, DevicesLeaveThemToTheHost) {
  const auto device_sampling = [](const auto& change) {
    return Sampler(with(change), 1, {}, {0}).device_sampling().has_value();
  };
  const std::vector<std::function<void(SamplingParams&)>> changes = {
      [](auto& p) { p.allowed_token_ids = std::make_shared<const std::vector<int32_t>>(1, 2); },
      [](auto& p) { p.bad_words = std::make_shared<const TokenSequences>(TokenSequences{{1}}); },
      [](auto& p) { p.dry.multiplier = 1.0f; },
      [](auto& p) { p.top_n_sigma = 1.0f; },
      [](auto& p) { p.dynatemp.range = 0.5f; },
      [](auto& p) { p.mirostat.version = 2; },
      [](auto& p) { p.xtc.probability = 0.5f; },
  };
  for (size_t i = 0; i < changes.size(); ++i) EXPECT_FALSE(device_sampling(changes[i])) << i;
  EXPECT_TRUE(device_sampling([](auto& p) {
    p.temperature = 0.0f;
    p.xtc.probability = 0.5f;
    p.mirostat.version = 2;
  })) << "greedy knows no draw";
  EXPECT_TRUE(device_sampling([](auto& p) {
    p.dry.multiplier = 1.0f;
    p.dry.penalty_last_n = 0;
  }));
}

TEST(SamplingSteps, RefusesValuesOutOfRange) {
  const auto refused = [](const std::function<void(SamplingParams&)>& change) {
    SamplingParams params;
    change(params);
    EXPECT_THROW(params.validate(100), Error);
  };
  refused([](auto& p) { p.dry.multiplier = -1.0f; });
  refused([](auto& p) { p.dry.base = 0.9f; });
  refused([](auto& p) { p.dry.allowed_length = -1; });
  refused([](auto& p) { p.dry.penalty_last_n = -2; });
  refused([](auto& p) { p.xtc.probability = 1.1f; });
  refused([](auto& p) { p.xtc.threshold = -0.1f; });
  refused([](auto& p) { p.mirostat.version = 3; });
  refused([](auto& p) { p.mirostat.tau = std::nanf(""); });
  refused([](auto& p) { p.mirostat.eta = -1.0f; });
  refused([](auto& p) { p.dynatemp.range = -1.0f; });
  refused([](auto& p) { p.dynatemp.exponent = std::nanf(""); });
  refused([](auto& p) { p.top_n_sigma = -2.0f; });
  refused([](auto& p) { p.logprob_token_ids = {100}; });
  refused([](auto& p) { p.allowed_token_ids = std::make_shared<const std::vector<int32_t>>(1, 100); });
  refused([](auto& p) { p.bad_words = std::make_shared<const TokenSequences>(TokenSequences{{1, -1}}); });
}

}  // namespace
}  // namespace quire
