#include "decoding/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <vector>

#include "base/error.h"
#include "base/random.h"

namespace quire {
namespace {

const std::vector<float> kLogits = {1.0f, 3.0f, 2.0f, -1.0f, 0.5f};

std::vector<double> softmax(const std::vector<float>& logits, double temperature) {
  std::vector<double> p;
  double sum = 0.0;
  for (const float logit : logits) sum += p.emplace_back(std::exp(logit / temperature));
  for (double& value : p) value /= sum;
  return p;
}

std::optional<SampledToken> sample(Sampler& sampler, const std::vector<float>& logits) {
  SamplerScratch scratch(static_cast<int64_t>(logits.size()));
  return sampler.sample(logits, scratch);
}

int32_t one(const SamplingParams& params, const std::vector<float>& logits, uint64_t seed = 1) {
  Sampler sampler(params, seed, {}, {});
  return sample(sampler, logits)->id;
}

// Pearson's chi-square of n draws against expected probabilities; zero-probability tokens must not occur.
void expect_distribution(const SamplingParams& params, const std::vector<double>& expected) {
  const int n = 20000;
  std::vector<int> counts(expected.size());
  for (int i = 0; i < n; ++i) ++counts[one(params, kLogits, static_cast<uint64_t>(i))];
  double chi2 = 0.0;
  int freedom = -1;
  for (size_t i = 0; i < expected.size(); ++i) {
    if (expected[i] == 0.0) {
      EXPECT_EQ(counts[i], 0) << "token " << i;
    } else {
      chi2 += std::pow(counts[i] - n * expected[i], 2) / (n * expected[i]);
      ++freedom;
    }
  }
  const double bounds[] = {0.0, 10.83, 13.82, 16.27, 18.47};  // p = 0.001
  EXPECT_LE(chi2, bounds[freedom]);
}

TEST(Random, PhiloxKnownAnswer) {
  // The published test vector of Philox4x32-10 for a zero counter and key starts 6627e8d5 e169c58d.
  EXPECT_EQ(philox(0, 0), 0xe169c58d6627e8d5u);
}

TEST(Sampler, GreedyTakesTheFirstMaximum) {
  SamplingParams params;
  params.temperature = 0.0f;
  EXPECT_EQ(one(params, kLogits), 1);
  EXPECT_EQ(one(params, {2.0f, 5.0f, 5.0f}), 1);
}

TEST(Sampler, TemperatureFollowsTheSoftmax) {
  SamplingParams params;
  params.temperature = 1.5f;
  expect_distribution(params, softmax(kLogits, 1.5));
}

TEST(Sampler, FiltersKeepTheirTokens) {
  const auto p = softmax(kLogits, 1.0);
  const auto renormalised = [&](std::vector<int> kept) {
    std::vector<double> out(p.size());
    double mass = 0.0;
    for (const int i : kept) mass += p[i];
    for (const int i : kept) out[i] = p[i] / mass;
    return out;
  };
  SamplingParams top_k;
  top_k.top_k = 2;
  expect_distribution(top_k, renormalised({1, 2}));
  SamplingParams top_p;
  top_p.top_p = static_cast<float>(p[1] + p[2] + 0.5 * p[0]);
  expect_distribution(top_p, renormalised({0, 1, 2}));
  SamplingParams min_p;
  min_p.min_p = static_cast<float>(0.99 * p[0] / p[1]);
  expect_distribution(min_p, renormalised({0, 1, 2}));
  SamplingParams tiny;
  tiny.top_p = 1e-6f;
  expect_distribution(tiny, renormalised({1}));
}

TEST(Sampler, TypicalUsesTheDistributionAfterTemperature) {
  SamplingParams params;
  params.temperature = 4.0f;
  params.typical_p = 0.99f;  // all tokens: no four of them have that mass
  expect_distribution(params, softmax(kLogits, 4.0));
}

TEST(Sampler, TypicalKeepsTokensNearTheEntropy) {
  // One sure token and many unlikely ones: the sure one is far less surprising than the entropy.
  std::vector<Candidate> candidates = {{0, 0, 0.4f}};
  for (int i = 1; i <= 12; ++i) candidates.push_back({i, -1.0f, 0.05f});
  keep_typical(candidates, 0.28f);
  EXPECT_EQ(candidates.size(), 6u);
  for (const Candidate& candidate : candidates) EXPECT_NE(candidate.id, 0);
}

TEST(Sampler, PenaltiesAndBias) {
  SamplingParams params;
  params.temperature = 0.0f;
  params.repetition_penalty = 2.0f;
  const std::vector<int32_t> prompt = {1};
  Sampler repetition(params, 0, prompt, {});
  EXPECT_EQ(sample(repetition, kLogits)->id, 2);  // 3 / 2 < 2

  SamplingParams frequency;
  frequency.temperature = 0.0f;
  frequency.frequency_penalty = 0.6f;
  Sampler sampler(frequency, 0, prompt, {});
  EXPECT_EQ(sample(sampler, kLogits)->id, 1);  // the prompt does not count
  EXPECT_EQ(sample(sampler, kLogits)->id, 1);  // 3 - 0.6
  EXPECT_EQ(sample(sampler, kLogits)->id, 2);  // 3 - 1.2 < 2

  SamplingParams bias;
  bias.temperature = 0.0f;
  bias.logit_bias = {{3, 50.0f}};
  EXPECT_EQ(one(bias, kLogits), 3);
}

TEST(Sampler, MinTokensSuppressesTheEnd) {
  SamplingParams params;
  params.temperature = 0.0f;
  params.min_tokens = 2;
  Sampler sampler(params, 0, {}, {1});
  EXPECT_EQ(sample(sampler, kLogits)->id, 2);
  EXPECT_EQ(sample(sampler, kLogits)->id, 2);
  EXPECT_EQ(sample(sampler, kLogits)->id, 1);
}

TEST(Sampler, ASeedGivesTheSameTokensWhateverRunsBetween) {
  SamplingParams params;
  params.seed = 42;
  Sampler a(params, 7, {}, {});
  Sampler b(params, 8, {}, {});
  for (int i = 0; i < 100; ++i) EXPECT_EQ(sample(a, kLogits)->id, sample(b, kLogits)->id);
  Sampler restored(params, 9, {}, {});
  for (int i = 0; i < 100; ++i) restored.accept(0);
  EXPECT_EQ(sample(restored, kLogits)->id, sample(a, kLogits)->id);
}

// A draft is typical by its probability in the distribution of the next draw, beside the entropy of that distribution.
TEST(Sampler, TypicalDraftsAreMeasuredByTheEntropy) {
  SamplingParams params;
  params.temperature = 0.7f;
  params.logit_bias = {{3, 2.5f}};
  std::vector<float> biased = kLogits;
  biased[3] += 2.5f;
  const std::vector<double> p = softmax(biased, 0.7);
  double entropy = 0.0;
  for (const double value : p) entropy -= value * std::log(value);
  SamplerScratch scratch(std::ssize(kLogits));
  Sampler sampler(params, 1, {}, {});
  for (int32_t id = 0; id < std::ssize(kLogits); ++id) {
    const double probability = p[static_cast<size_t>(id)];
    const auto by_threshold = static_cast<float>(probability);
    EXPECT_TRUE(sampler.is_typical(kLogits, id, {by_threshold * 0.999f, 1000.0f}, scratch));
    EXPECT_FALSE(sampler.is_typical(kLogits, id, {by_threshold * 1.001f, 1000.0f}, scratch));
    const auto by_entropy = static_cast<float>(probability * std::exp(entropy));
    EXPECT_TRUE(sampler.is_typical(kLogits, id, {1.0f, by_entropy * 0.999f}, scratch));
    EXPECT_FALSE(sampler.is_typical(kLogits, id, {1.0f, by_entropy * 1.001f}, scratch));
  }
  EXPECT_EQ(sampler.num_generated(), 0);
  EXPECT_EQ(sampler.take(kLogits, 2, scratch).id, 2);
  EXPECT_EQ(sampler.num_generated(), 1);
  std::vector<float> bad = kLogits;
  bad[0] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_FALSE(sampler.is_typical(bad, 1, {0.0f, 0.0f}, scratch));
  params.temperature = 0.0f;
  Sampler greedy(params, 1, {}, {});
  EXPECT_TRUE(greedy.is_typical(kLogits, 1, {1.0f, 1.0f}, scratch));
  EXPECT_FALSE(greedy.is_typical(kLogits, 2, {0.0f, 0.0f}, scratch));
}

TEST(Sampler, LogprobsAreTheModelsOwn) {
  SamplingParams params;
  params.temperature = 0.0f;
  params.num_logprobs = 2;
  params.logit_bias = {{2, 10.0f}};
  Sampler sampler(params, 0, {}, {});
  const SampledToken token = *sample(sampler, kLogits);
  const auto p = softmax(kLogits, 1.0);
  EXPECT_EQ(token.id, 2);
  EXPECT_EQ(token.rank, 1);
  EXPECT_NEAR(token.logprob, std::log(p[2]), 1e-6);
  ASSERT_EQ(token.top.size(), 2u);
  EXPECT_EQ(token.top[0].id, 1);
  EXPECT_EQ(token.top[1].id, 2);
  EXPECT_EQ(token.top[1].logprob, token.logprob);
}

TEST(Sampler, NanFailsOnlyItsOwnRequest) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float inf = std::numeric_limits<float>::infinity();
  Sampler sampler({}, 0, {}, {});
  EXPECT_FALSE(sample(sampler, std::vector<float>{1.0f, nan}));
  EXPECT_FALSE(sample(sampler, std::vector<float>{1.0f, inf}));
  EXPECT_FALSE(sample(sampler, std::vector<float>{-inf, -inf}));
  EXPECT_EQ(sample(sampler, std::vector<float>{-inf, 0.0f})->id, 1);
}

TEST(SamplingParams, RefusesValuesOutOfRange) {
  const auto refused = [](auto change) {
    SamplingParams params;
    change(params);
    EXPECT_THROW(params.validate(100), Error);
  };
  SamplingParams().validate(100);
  refused([](auto& p) { p.temperature = -1.0f; });
  refused([](auto& p) { p.temperature = std::nanf(""); });
  refused([](auto& p) { p.top_p = 0.0f; });
  refused([](auto& p) { p.top_p = 1.5f; });
  refused([](auto& p) { p.min_p = -0.1f; });
  refused([](auto& p) { p.typical_p = 0.0f; });
  refused([](auto& p) { p.repetition_penalty = 0.0f; });
  refused([](auto& p) { p.presence_penalty = 3.0f; });
  refused([](auto& p) { p.top_k = -2; });
  refused([](auto& p) { p.logit_bias = {{100, 1.0f}}; });
  refused([](auto& p) { p.num_logprobs = 101; });
}

TEST(Sampler, DeviceSamplingOnlyWhenNoStepNeedsTheHost) {
  const auto device_sampling = [](auto change) {
    SamplingParams params;
    change(params);
    return Sampler(params, 1, {}, {0}).device_sampling();
  };
  EXPECT_TRUE(device_sampling([](auto& p) { p.temperature = 0.0f; }));
  EXPECT_EQ(device_sampling([](auto& p) { p.temperature = 1e-40f; })->temperature, 0.0f) << "its inverse is infinite";
  EXPECT_EQ(device_sampling([](auto& p) { p.temperature = kMinTemperature; })->temperature, kMinTemperature);
  EXPECT_FALSE(device_sampling([](auto& p) { p.typical_p = 0.9f; }));
  EXPECT_FALSE(device_sampling([](auto& p) { p.repetition_penalty = 1.1f; }));
  EXPECT_FALSE(device_sampling([](auto& p) { p.presence_penalty = 0.1f; }));
  EXPECT_FALSE(device_sampling([](auto& p) { p.frequency_penalty = 0.1f; }));
  EXPECT_FALSE(device_sampling([](auto& p) { p.logit_bias = {{1, 1.0f}}; }));
  EXPECT_FALSE(device_sampling([](auto& p) { p.num_logprobs = 0; }));

  SamplingParams params;
  params.temperature = 0.5f;
  params.top_k = 3;
  params.top_p = 0.9f;
  params.min_p = 0.1f;
  params.min_tokens = 1;
  Sampler sampler(params, 7, {}, {0});
  EXPECT_FALSE(sampler.device_sampling());
  sampler.accept(2);
  const std::optional<SamplingRow> second = sampler.device_sampling();
  ASSERT_TRUE(second);
  EXPECT_EQ(second->random, uniform(7, 1));
  EXPECT_EQ(second->temperature, 0.5f);
  EXPECT_EQ(second->top_k, 3);
  EXPECT_EQ(second->top_p, 0.9f);
  EXPECT_EQ(second->min_p, 0.1f);
}

// Tokens without their bit are impossible before everything else.
TEST(Sampler, ChoosesOnlyAllowedTokens) {
  std::vector<float> logits(130, 0.0f);  // more than two words of the mask
  logits[3] = 9.0f;
  SamplerScratch scratch(130);
  const std::vector<uint64_t> allowed = {1u << 1, ~uint64_t{0}, 1u << 1};
  const auto is_allowed = [&](int32_t id) { return is_in_mask(allowed, id); };
  SamplingParams params;
  params.logit_bias = {{3, 100.0f}, {128, 100.0f}, {1, 0.5f}};
  for (uint64_t seed = 0; seed < 200; ++seed) {
    EXPECT_TRUE(is_allowed(Sampler(params, seed, {}, {}).sample(logits, scratch, allowed)->id));
  }
  params.temperature = 0.0f;
  EXPECT_EQ(Sampler(params, 1, {}, {}).sample(logits, scratch, allowed)->id, 1);
  EXPECT_EQ(Sampler(params, 1, {}, {}).sample(logits, scratch)->id, 3);
  EXPECT_FALSE(Sampler(params, 1, {}, {}).is_typical(logits, 3, {}, scratch, allowed));
  EXPECT_TRUE(Sampler(params, 1, {}, {}).is_typical(logits, 1, {}, scratch, allowed));
  EXPECT_FALSE(Sampler(params, 1, {}, {}).sample(logits, scratch, std::vector<uint64_t>(3))) << "none is possible";

  // Below min_tokens an end is chosen only where nothing else may follow.
  params.min_tokens = 5;
  EXPECT_NE(Sampler(params, 1, {}, {1}).sample(logits, scratch, allowed)->id, 1);
  const std::vector<uint64_t> ends = {1u << 1, 0, 0};
  EXPECT_EQ(Sampler(params, 1, {}, {1}).sample(logits, scratch, ends)->id, 1);

  // The model's own log probabilities are reported.
  params.num_logprobs = 1;
  const SampledToken token = *Sampler(params, 1, {}, {}).sample(logits, scratch, ends);
  EXPECT_EQ(token.rank, 1);
  EXPECT_EQ(token.top[0].id, 3);
}

}  // namespace
}  // namespace quire
