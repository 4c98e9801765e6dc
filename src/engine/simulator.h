// The production step loop, scheduler and block manager over a model that computes nothing (simulated_model.h): time
// passes as a cost model says. Millions of requests a minute, each run repeated exactly by its seed.
//
// What must hold is checked as it runs (SimulationOptions::check): block ownership; what a sequence reads from its
// blocks is what it wrote; every answer is the one the request gives alone; somebody advances while anybody waits; no
// request outlives its deadline by more than a step. A violation throws Error with seed, step and place.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "engine/scheduler.h"

namespace quire {

struct SimulatedRequest {
  double arrival_ms = 0.0;
  int64_t prompt_tokens = 1;
  int64_t output_tokens = 1;
  int64_t stop_after = 0;  // > 0: ends after so many, as by an end token, which nobody knows before
  int num_choices = 1;
  int num_drafts = 0;         // tokens guessed before each step, some of them wrong
  int64_t shared_tokens = 0;  // leading prompt tokens that all requests of the same group have in common
  int32_t group = 0;
  int32_t priority = 0;
  std::string tenant = {};
  double timeout_ms = 0.0;  // from arrival; 0: none
  double cancel_ms = 0.0;   // from arrival; 0: never
};

struct SimulationOptions {
  SchedulerOptions scheduler;  // windows of at least 2
  CostModel::Weights cost = {25.0, 0.2, 2.8, 0.05, 0.3};
  double noise = 0.0;  // relative spread of a step's time
  int64_t max_queued_requests = 1024;
  // More than 1: steps are planned while those before them run, as by an engine whose device runs beside it; now and
  // then, as the dice fall, one needs the host and is not followed.
  int max_steps_in_flight = 1;
  bool check = true;
  bool keep_token_times = false;
  uint64_t seed = 0;
};

struct SimulatedOutcome {
  enum class End : uint8_t { kFinished, kRefused, kTooLarge, kCancelled, kTimeout } end = End::kFinished;
  double ttft_ms = 0.0;
  double tpot_ms = 0.0;  // mean after the first token
  double e2e_ms = 0.0;
  int64_t generated_tokens = 0;
  int64_t num_preemptions = 0;
  int64_t cached_tokens = 0;
  int64_t steps_until_first = 0;      // from the step after arrival
  std::vector<double> token_ms = {};  // of the first choice's tokens, when asked for
};

struct SimulationResult {
  std::vector<SimulatedOutcome> outcomes;  // by request
  double duration_ms = 0.0;
  int64_t num_steps = 0;
  int64_t computed_tokens = 0;
  int64_t num_preemptions = 0;
  int64_t num_swaps = 0;
  int64_t num_accepted_drafts = 0;
  int64_t num_rejected_drafts = 0;
  double worst_decode_gap_ms = 0.0;  // longest time between two tokens of one choice
};

// `requests` by ascending arrival.
SimulationResult simulate(const std::vector<SimulatedRequest>& requests, const SimulationOptions& options);

// A random configuration and the requests for it, over everything the scheduler can do: each seed another machine,
// pool, policy and crowd.
struct SwarmCase {
  SimulationOptions options;
  std::vector<SimulatedRequest> requests;
};
SwarmCase random_case(uint64_t seed, size_t num_requests);

// One line that names everything of a configuration a failure report needs.
std::string describe(const SimulationOptions& options);

}  // namespace quire
