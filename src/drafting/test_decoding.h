// For tests: a target model that is a function of the known tokens, and decoding with drafts that it verifies.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "drafting/draft_tree.h"
#include "drafting/drafter.h"

namespace quire {

using Tokens = std::vector<int32_t>;

// The next token after these.
using Target = std::function<int32_t(const Tokens&)>;

struct TestSequence {
  uint64_t id = 1;
  Tokens tokens;
  int64_t num_prompt_tokens = 0;
  int max_drafts = 8;
  int min_drafts = 0;
  std::string salt = {};
  int64_t num_steps = 0;
  int64_t num_accepted = 0;
  int64_t num_proposed = 0;
};

inline TestSequence with_prompt(uint64_t id, Tokens prompt) {
  TestSequence sequence;
  sequence.id = id;
  sequence.num_prompt_tokens = static_cast<int64_t>(prompt.size());
  sequence.tokens = std::move(prompt);
  return sequence;
}

// Checks what every drafter owes to a request.
inline Drafts propose(Drafter& drafter, const TestSequence& sequence) {
  Drafts drafts;
  DraftRequest request = {.sequence = sequence.id,
                          .tokens = sequence.tokens,
                          .num_prompt_tokens = sequence.num_prompt_tokens,
                          .max_drafts = sequence.max_drafts,
                          .min_drafts = sequence.min_drafts,
                          .salt = sequence.salt,
                          .drafts = &drafts};
  drafter.propose(std::span(&request, 1));
  EXPECT_TRUE(is_valid(drafts));
  EXPECT_LE(drafts.size(), static_cast<size_t>(sequence.max_drafts));
  if (!drafts.empty()) {
    EXPECT_GE(drafts.size(), static_cast<size_t>(sequence.min_drafts));
  }
  return drafts;
}

// Appends what the target chooses with the first `num_verified` drafts, and tells the drafter.
inline void verify(Drafter& drafter, const Target& target, TestSequence& sequence, Drafts drafts, size_t num_verified) {
  const auto path_to = [&](int32_t node) {
    Tokens path;
    for (; node >= 0; node = drafts.parent_of(static_cast<size_t>(node))) {
      path.insert(path.begin(), drafts.tokens[static_cast<size_t>(node)]);
    }
    path.insert(path.begin(), sequence.tokens.begin(), sequence.tokens.end());
    return path;
  };
  Tokens likeliest = {target(sequence.tokens)};
  for (size_t node = 0; node < num_verified; ++node) likeliest.push_back(target(path_to(static_cast<int32_t>(node))));
  int64_t num_accepted = 0;
  int32_t reached = -1;
  for (size_t node = 0; node < num_verified; ++node) {
    const bool holds = drafts.tokens[node] == likeliest[static_cast<size_t>(reached + 1)];
    if (drafts.parent_of(node) != reached || !holds) continue;
    reached = static_cast<int32_t>(node);
    ++num_accepted;
  }
  Tokens known = path_to(reached);
  known.push_back(likeliest[static_cast<size_t>(reached + 1)]);
  sequence.tokens = std::move(known);
  ++sequence.num_steps;
  sequence.num_accepted += num_accepted;
  sequence.num_proposed += static_cast<int64_t>(drafts.size());
  if (num_verified == 0) return;
  drafter.settle({.sequence = sequence.id,
                  .num_verified = static_cast<int64_t>(num_verified),
                  .num_accepted = num_accepted,
                  .likeliest = likeliest});
}

inline void decode(Drafter& drafter, const Target& target, TestSequence& sequence, int64_t num_tokens) {
  const size_t end = sequence.tokens.size() + static_cast<size_t>(num_tokens);
  while (sequence.tokens.size() < end) {
    const Drafts drafts = propose(drafter, sequence);
    verify(drafter, target, sequence, drafts, drafts.size());
  }
}

inline void finish(Drafter& drafter, const TestSequence& sequence) {
  drafter.finish(sequence.id, sequence.tokens, sequence.num_prompt_tokens, sequence.salt);
}

// Mostly copies of earlier parts of itself.
inline Tokens repetitive_tokens(std::mt19937& random, size_t num_tokens, int32_t first_token, int32_t num_distinct) {
  Tokens tokens;
  const auto draw = [&random](size_t below) { return std::uniform_int_distribution<size_t>(0, below - 1)(random); };
  while (tokens.size() < num_tokens) {
    if (tokens.empty() || draw(4) == 0) {
      tokens.push_back(first_token + static_cast<int32_t>(draw(static_cast<size_t>(num_distinct))));
      continue;
    }
    const size_t start = draw(tokens.size());
    for (size_t i = 0, length = draw(12); i < length; ++i) tokens.push_back(tokens[start + i]);
  }
  tokens.resize(num_tokens);
  return tokens;
}

}  // namespace quire
