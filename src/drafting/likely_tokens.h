// The likeliest tokens of a row of logits and their probabilities, for drafters that weigh alternatives. A request's
// own sampling (temperature, penalties ...) is left to what verifies them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "decoding/candidates.h"

namespace quire {

// The probability of a token; 0 when the logits hold a NaN, +infinity or nothing finite.
float probability_of(std::span<const float> logits, int32_t token);
// The `count` likeliest, in descending order, with probabilities; fewer where others are impossible, none where
// probability_of gives 0 for all.
void collect_likely_tokens(std::span<const float> logits, int count, std::vector<Candidate>& likely);

}  // namespace quire
