#include "engine/beam_search.h"

#include <gtest/gtest.h>

#include <limits>
#include <set>

#include "base/error.h"
#include "base/random.h"
#include "engine/test_beams.h"

namespace quire {
namespace {

constexpr int kVocab = 12;

// A model whose distribution is a function of the tokens so far.
std::vector<TokenLogprob> likeliest(uint64_t seed, const std::vector<int32_t>& tokens) {
  uint64_t state = seed;
  for (const int32_t token : tokens) state = philox(state, static_cast<uint64_t>(token));
  std::vector<TokenLogprob> all;
  double mass = 0.0;
  for (int32_t id = 0; id < kVocab; ++id) {
    const double logit = 4.0 * uniform(state, static_cast<uint64_t>(id));
    mass += std::exp(logit);
    all.push_back({id, static_cast<float>(logit)});
  }
  for (TokenLogprob& token : all) token.logprob -= static_cast<float>(std::log(mass));
  std::ranges::stable_sort(all, std::ranges::greater(), &TokenLogprob::logprob);
  return all;
}

struct Outcome {
  std::vector<BeamSearch::Answer> answers;
  int num_steps = 0;
};

Outcome search(const BeamOptions& options, int64_t max_tokens, const std::set<int32_t>& stops, uint64_t seed) {
  BeamSearch search(options, {.max_tokens = max_tokens, .num_alternatives = 1, .is_stop = [stops](int32_t token) {
                                return stops.contains(token);
                              }});
  std::vector<std::vector<int32_t>> beams(1);
  Outcome outcome;
  while (!beams.empty()) {
    for (size_t beam = 0; beam < beams.size(); ++beam) {
      EXPECT_FALSE(search.is_ready());
      std::vector<TokenLogprob> candidates = likeliest(seed, beams[beam]);
      candidates.resize(std::min<size_t>(candidates.size(), static_cast<size_t>(search.num_candidates())));
      search.report(static_cast<int>(beam), std::move(candidates));
    }
    EXPECT_TRUE(search.is_ready());
    std::vector<std::vector<int32_t>> next;
    for (const auto& [beam, token] : search.advance()) {
      next.push_back(beams[static_cast<size_t>(beam)]);
      next.back().push_back(token);
    }
    EXPECT_LE(std::ssize(next), options.width);
    beams = std::move(next);
    ++outcome.num_steps;
  }
  outcome.answers = search.best(options.width);
  return outcome;
}

void expect_plain(const BeamOptions& options, int64_t max_tokens, const std::set<int32_t>& stops, uint64_t seed) {
  const auto is_stop = [&](int32_t token) { return stops.contains(token); };
  const auto next = [&](const std::vector<int32_t>& tokens) { return likeliest(seed, tokens); };
  const auto expected = test::plain_beam_search(options, max_tokens, is_stop, next);
  const Outcome given = search(options, max_tokens, stops, seed);
  ASSERT_EQ(given.answers.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    std::vector<int32_t> tokens;
    for (const SampledToken& token : given.answers[i].tokens) tokens.push_back(token.id);
    EXPECT_EQ(tokens, expected[i].tokens);
    EXPECT_EQ(given.answers[i].logprob, expected[i].logprob);
    EXPECT_EQ(given.answers[i].score, expected[i].score);
    EXPECT_EQ(given.answers[i].is_stopped, expected[i].is_stopped);
  }
}

TEST(BeamSearch, IsThePlainSearch) {
  for (uint64_t seed = 0; seed < 40; ++seed) {
    for (const int width : {1, 2, 4, 7}) {
      for (const float penalty : {1.0f, 0.0f, 2.0f, -1.0f}) {
        for (const bool early : {false, true}) {
          SCOPED_TRACE(testing::Message() << "seed " << seed << ", width " << width << ", penalty " << penalty
                                          << (early ? ", early" : ""));
          const BeamOptions options{.width = width, .length_penalty = penalty, .early_stopping = early};
          expect_plain(options, 1 + static_cast<int64_t>(seed % 9), {3, 7}, seed);
        }
      }
    }
  }
}

// The plain search goes to the end: that the other stops before changes nothing.
TEST(BeamSearch, EndsWhenNoBeamCanBecomeBetter) {
  int num_early = 0;
  for (uint64_t seed = 0; seed < 30; ++seed) {
    const BeamOptions options{.width = 3, .length_penalty = 0.0f};
    expect_plain(options, 30, {1, 3, 7}, seed);
    num_early += search(options, 30, {1, 3, 7}, seed).num_steps < 30 ? 1 : 0;
  }
  EXPECT_GT(num_early, 20);
  EXPECT_EQ(search({.width = 3}, 30, {}, 1).num_steps, 30);
}

TEST(BeamSearch, TokensThatAreImpossibleAreNotTaken) {
  const float impossible = -std::numeric_limits<float>::infinity();
  BeamSearch search({.width = 3}, {.max_tokens = 2, .is_stop = [](int32_t token) { return token == 2; }});
  search.report(0, {{1, -0.5f}, {2, -1.0f}, {0, impossible}});
  ASSERT_EQ(search.advance().size(), 1u);
  search.report(0, {{2, 0.0f}, {0, impossible}, {1, impossible}});
  EXPECT_TRUE(search.advance().empty());
  const auto answers = search.best(3);
  ASSERT_EQ(answers.size(), 2u) << "there are no more";
  EXPECT_EQ(answers[0].score, -0.25);
  EXPECT_EQ(answers[1].score, -1.0);
  EXPECT_EQ(search.best(1).size(), 1u);
}

TEST(BeamOptions, RefusesValuesOutOfRange) {
  EXPECT_NO_THROW(BeamOptions{}.validate());
  EXPECT_THROW((BeamOptions{.width = -1}.validate()), Error);
  EXPECT_THROW((BeamOptions{.width = 2000}.validate()), Error);
  EXPECT_THROW((BeamOptions{.width = 2, .length_penalty = std::nanf("")}.validate()), Error);
}

}  // namespace
}  // namespace quire
