// Tokens of steps with drafts have the distribution of plain sampling. A table stands for the model: the logits after
// each token.
#include "engine/outputs/generated_tokens.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string>

namespace quire {
namespace {

constexpr int32_t kVocab = 6;
constexpr int kLength = 3;  // tokens of an answer
constexpr int kAnswers = 120'000;

using Answer = std::array<int32_t, kLength>;
using Counts = std::array<int, 216>;  // of every answer there may be

std::vector<float> logits_after(std::span<const int32_t> tokens) {
  std::vector<float> logits;
  logits.reserve(tokens.size() * kVocab);
  for (const int32_t token : tokens) {
    for (int32_t next = 0; next < kVocab; ++next) {
      logits.push_back(2.0f * std::sin(static_cast<float>(1 + token * 7 + next * 3)));
    }
  }
  return logits;
}

// Answers step by step; each has the drafts that `guess` makes of the last token.
template <typename Guess>
Answer answer(const SamplingParams& params, uint64_t seed, const Guess& guess,
              const TypicalAcceptance* typical = nullptr) {
  static SamplerScratch scratch(kVocab);
  auto request = std::make_shared<GenerateRequest>();
  request->prompt = {1};
  request->sampling = params;
  GeneratedTokens output(request, seed, 1 + kLength);
  std::vector<int32_t> known = {1};
  Update update;
  while (known.size() < 1 + kLength) {
    std::vector<int32_t> computed = {known.back()};
    const std::vector<int32_t> drafts = guess(known.back());
    computed.insert(computed.end(), drafts.begin(), drafts.end());
    const std::vector<float> logits = logits_after(computed);
    const Rows rows{.first_position = static_cast<int64_t>(known.size()) - 1,
                    .num_rows = static_cast<int64_t>(computed.size()),
                    .samples = true,
                    .drafts = drafts,
                    .logits = logits,
                    .typical = typical};
    output.consume(rows, 0, scratch);
    update.clear();
    output.publish(rows, update);
    known.insert(known.end(), update.tokens.begin(), update.tokens.end());
  }
  EXPECT_EQ(known.size(), 1u + kLength);
  return {known[1], known[2], known[3]};
}

// Chi-square of two samples of equal size, in standard deviations from its mean; cells of few answers count together.
double deviation(const Counts& a, const Counts& b) {
  double sum = 0.0;
  int cells = 0;
  double few_a = 0.0;
  double few_b = 0.0;
  const auto add = [&](double x, double y) {
    sum += (x - y) * (x - y) / (x + y);
    ++cells;
  };
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i] + b[i] >= 40) {
      add(a[i], b[i]);
    } else {
      few_a += a[i];
      few_b += b[i];
    }
  }
  if (few_a + few_b > 0) add(few_a, few_b);
  const double freedom = std::max(1, cells - 1);
  return (sum - freedom) / std::sqrt(2 * freedom);
}

struct Setting {
  const char* name;
  SamplingParams params;
};

std::vector<Setting> settings() {
  std::vector<Setting> all(6);
  all[0].name = "plain";
  all[1].name = "top-k";
  all[1].params.top_k = 3;
  all[1].params.temperature = 0.7f;
  all[2].name = "top-p";
  all[2].params.top_p = 0.8f;
  all[3].name = "min-p";
  all[3].params.min_p = 0.15f;
  all[3].params.temperature = 1.5f;
  all[4].name = "typical-p and a repetition penalty";
  all[4].params.typical_p = 0.8f;
  all[4].params.repetition_penalty = 1.4f;
  all[5].name = "bias and penalties";
  all[5].params.logit_bias = {{2, 0.8f}};
  all[5].params.presence_penalty = 0.4f;
  all[5].params.frequency_penalty = 0.6f;
  return all;
}

TEST(GeneratedTokens, DraftsDoNotChangeTheDistribution) {
  const auto none = [](int32_t) { return std::vector<int32_t>{}; };
  // Often right, often wrong, and of different lengths.
  const auto some = [](int32_t last) {
    std::vector<int32_t> drafts = {(last * 5 + 2) % kVocab, (last + 3) % kVocab};
    drafts.resize(static_cast<size_t>(last) % 3);
    return drafts;
  };
  for (const Setting& setting : settings()) {
    Counts plain{};
    Counts drafted{};
    Counts another{};  // another distribution: the test is able to tell
    SamplingParams warmer = setting.params;
    warmer.temperature *= 1.05f;
    const auto cell = [](const Answer& a) { return static_cast<size_t>((a[0] * kVocab + a[1]) * kVocab + a[2]); };
    for (uint64_t i = 0; i < kAnswers; ++i) {
      ++plain[cell(answer(setting.params, i, none))];
      ++drafted[cell(answer(setting.params, kAnswers + i, some))];
      ++another[cell(answer(warmer, 2 * kAnswers + i, none))];
      if (i % 16 == 0) {
        ASSERT_EQ(answer(setting.params, i, some), answer(setting.params, i, none)) << setting.name;
      }
    }
    EXPECT_LT(deviation(plain, drafted), 3.0) << setting.name;
    EXPECT_GT(deviation(plain, another), 3.0) << setting.name;
  }
}

// Typical acceptance keeps likely drafts, whatever would have been drawn: another distribution. Greedy answers are the
// same.
TEST(GeneratedTokens, TypicalDraftsHold) {
  const auto none = [](int32_t) { return std::vector<int32_t>{}; };
  const auto likeliest = [](int32_t last) {
    std::vector<int32_t> drafts;
    for (int i = 0; i < kLength; ++i) {
      const std::vector<float> logits = logits_after({&last, 1});
      last = static_cast<int32_t>(std::ranges::max_element(logits) - logits.begin());
      drafts.push_back(last);
    }
    return drafts;
  };
  const TypicalAcceptance lenient{.threshold = 0.09f, .alpha = 0.3f};
  const TypicalAcceptance strict{.threshold = 1.0f, .alpha = 100.0f};
  SamplingParams sampled;
  SamplingParams greedy;
  greedy.temperature = 0.0f;
  const Answer best = answer(greedy, 0, none);
  for (uint64_t seed = 0; seed < 100; ++seed) {
    EXPECT_EQ(answer(sampled, seed, likeliest, &lenient), best);
    EXPECT_EQ(answer(sampled, seed, likeliest, &strict), answer(sampled, seed, none));
    EXPECT_EQ(answer(greedy, seed, likeliest, &lenient), best);
  }
}

}  // namespace
}  // namespace quire
