// Rounds of `quire bench speculation`: a list of requests answered by a number of streams at once, as fast as the
// engine can.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/engine.h"

namespace quire {

struct SpeculationRound {
  std::vector<std::vector<int32_t>> answers;  // by request
  double seconds = 0.0;
  int64_t num_tokens = 0;
  int64_t num_drafts = 0;  // that the model has verified
  int64_t num_accepted = 0;

  double tokens_per_second() const { return static_cast<double>(num_tokens) / seconds; }
  // For one sequence: a step chooses a token and as many as its drafts got right.
  double tokens_per_step() const {
    return static_cast<double>(num_tokens) / static_cast<double>(num_tokens - num_accepted);
  }
};

struct RoundSettings {
  int64_t streams = 1;
  std::string salt;             // other rounds have others: no round finds in a cache what an earlier one left there
  bool counts_prompts = false;  // otherwise prompts are computed, and cached, before the clock starts
};

// Throws Error for a request that fails.
SpeculationRound run_round(Engine& engine, const std::vector<GenerateRequest>& requests, const RoundSettings& settings);

}  // namespace quire
