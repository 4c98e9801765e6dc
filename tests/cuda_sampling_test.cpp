// Sampling on the device, or emulated, chooses the same tokens as the sampler on the host.
#include "kernels/cuda/rows/sampling.h"

#include <gtest/gtest.h>

#include <limits>
#include <random>
#include <vector>

#include "decoding/sampler.h"
#include "kernels/cuda/device/device_array.h"

namespace quire {
namespace {

class SamplingCuda : public GpuTest {};

std::vector<int32_t> sample(const std::vector<float>& logits, const std::vector<SamplingRow>& rows) {
  const DeviceArray<float> device_logits(logits);
  const DeviceArray<SamplingRow> device_rows(rows);
  DeviceArray<int32_t> tokens(rows.size());
  const size_t vocab_size = logits.size() / rows.size();
  sample_rows(gpu_exec(), device_logits.data(), static_cast<int64_t>(rows.size()), static_cast<int>(vocab_size),
              device_rows.data(), tokens.data());
  return tokens.download();
}

SamplingRow row_of(const SamplingParams& params, uint64_t seed) {
  return *Sampler(params, seed, {}, {}).device_sampling();
}

std::vector<SamplingParams> sampling_settings() {
  std::vector<SamplingParams> all;
  for (float temperature : {0.0f, kMinTemperature, 0.7f, 1.0f, 3.0f}) {
    const auto add = [&](int32_t top_k, float top_p, float min_p) {
      SamplingParams& params = all.emplace_back();
      params.temperature = temperature;
      params.top_k = top_k;
      params.top_p = top_p;
      params.min_p = min_p;
    };
    add(0, 1, 0);
    for (int32_t top_k : {1, 2, 40, 5000}) add(top_k, 1, 0);
    for (float top_p : {1e-6f, 0.3f, 0.95f}) add(0, top_p, 0);
    for (float min_p : {0.05f, 0.5f, 1.0f}) add(0, 1, min_p);
    add(50, 0.9f, 0.02f);
    add(7, 0.5f, 0);
  }
  return all;
}

// Compares the device with the host on one row for each setting and draw; `logit` makes the logits.
template <typename Logit>
void expect_host_tokens(int vocab_size, int num_draws, const Logit& logit) {
  std::vector<float> logits;
  std::vector<SamplingRow> rows;
  std::vector<int32_t> want;
  for (const SamplingParams& params : sampling_settings()) {
    for (int draw = 0; draw < num_draws; ++draw) {
      const uint64_t seed = rows.size() + 1;
      std::vector<float> row(static_cast<size_t>(vocab_size));
      for (float& x : row) x = logit();
      logits.insert(logits.end(), row.begin(), row.end());
      rows.push_back(row_of(params, seed));
      SamplerScratch scratch(vocab_size);
      want.push_back(Sampler(params, seed, {}, {}).sample(row, scratch)->id);
    }
  }
  const std::vector<int32_t> got = sample(logits, rows);
  for (size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ(got[i], want[i]) << "vocabulary of " << vocab_size << ", row " << i << ": temperature "
                               << rows[i].temperature << ", top_k " << rows[i].top_k << ", top_p " << rows[i].top_p
                               << ", min_p " << rows[i].min_p;
  }
}

TEST_F(SamplingCuda, RandomLogits) {
  std::mt19937 random(5);
  std::normal_distribution<float> normal(0, 3);
  for (int vocab_size : {1, 7, 33, 1000, 5003}) {
    expect_host_tokens(vocab_size, vocab_size > 1000 ? 1 : 2, [&] { return normal(random); });
  }
}

TEST_F(SamplingCuda, EqualLogits) {
  std::mt19937 random(6);
  std::uniform_int_distribution<int> few(-3, 3);
  expect_host_tokens(2051, 2, [&] { return static_cast<float>(few(random)) * 0.5f; });
  expect_host_tokens(40, 2, [] { return -2.5f; });
  expect_host_tokens(3000, 1, [&] { return few(random) > 0 ? 0.0f : -0.0f; });
}

TEST_F(SamplingCuda, NeverChoosesMaskedTokens) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal(0, 40);
  int index = 0;
  expect_host_tokens(500, 2,
                     [&] { return index++ % 3 != 1 ? -std::numeric_limits<float>::infinity() : normal(random); });
}

// Logits whose differences are too large or too small for float32.
TEST_F(SamplingCuda, ExtremeLogits) {
  constexpr float kMax = std::numeric_limits<float>::max();
  const float far[] = {-kMax, kMax, 0.0f, -kMax / 2, 1e30f, -std::numeric_limits<float>::infinity()};
  const float near[] = {0.0f, -0.0f, 1e-45f, -1e-45f, 1e-38f};
  int index = 0;
  expect_host_tokens(200, 1, [&] { return far[index++ % std::size(far)]; });
  expect_host_tokens(200, 1, [&] { return near[index++ % std::size(near)]; });
  expect_host_tokens(50, 1, [] { return kMax; });
  expect_host_tokens(50, 1, [] { return -kMax; });
}

// A row's token does not depend on its neighbours, and NaN is reported only for its own row.
TEST_F(SamplingCuda, NanFailsOnlyItsOwnRow) {
  constexpr size_t kVocab = 1500;
  std::mt19937 random(8);
  std::normal_distribution<float> normal(0, 3);
  std::vector<float> logits(6 * kVocab);
  for (float& x : logits) x = normal(random);
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  logits[1 * kVocab + 1499] = std::numeric_limits<float>::quiet_NaN();
  logits[2 * kVocab] = kInfinity;
  std::fill_n(logits.begin() + 4 * kVocab, kVocab, -kInfinity);
  logits[5 * kVocab + 3] = -std::numeric_limits<float>::quiet_NaN();
  for (float temperature : {0.0f, 1.0f}) {
    const SamplingRow row = {.random = 0.4, .temperature = temperature, .top_p = 0.9f};
    const std::vector<int32_t> tokens = sample(logits, std::vector<SamplingRow>(6, row));
    for (size_t bad : {1, 2, 4, 5}) EXPECT_EQ(tokens[bad], -1) << bad;
    for (size_t good : {0, 3}) {
      const auto begin = logits.begin() + static_cast<int64_t>(good * kVocab);
      EXPECT_EQ(tokens[good], sample({begin, begin + kVocab}, {row})[0]);
      EXPECT_GE(tokens[good], 0);
    }
  }
}

}  // namespace
}  // namespace quire
