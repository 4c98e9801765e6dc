// Runs the production step loop, scheduler and block manager over a model that computes nothing (simulated_model.h); a
// cost model gives the simulated time. Simulates millions of requests a minute; the seed repeats a run exactly.
//
// SimulationOptions::check verifies the invariants during the run: block ownership; a sequence reads from its blocks
// what it wrote; every answer equals the answer of the request alone; some sequence advances while any waits; no
// request outlives its deadline by more than a step. A violation throws Error with seed, step and place.
#pragma once

#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "engine/scheduler.h"
#include "engine/simulated_store.h"

namespace quire {

struct SimulatedRequest {
  double arrival_ms = 0.0;
  int64_t prompt_tokens = 1;
  int64_t output_tokens = 1;
  int64_t stop_after = 0;  // > 0: ends after this many output tokens, as if by an end token; unknown to the scheduler
  int num_choices = 1;
  int num_drafts = 0;         // tokens guessed before each step
  int draft_percent = 70;     // of these that are right
  bool draft_trees = false;   // they are a tree, not a chain
  int64_t shared_tokens = 0;  // leading prompt tokens that all requests with the same prefix number have in common
  int32_t prefix = 0;
  int32_t priority = 0;
  std::string tenant = {};
  double timeout_ms = 0.0;  // from arrival; 0: none
  double cancel_ms = 0.0;   // from arrival; 0: never
};

struct SimulationOptions {
  SchedulerOptions scheduler;  // windows must be at least 2
  CostModel::Weights cost = {25.0, 0.2, 0.2, 0.2, 3.0, 3.0, 0.05, 0.3};
  double noise = 0.0;  // relative spread of a step's time
  int64_t max_queued_requests = 1024;
  // More than 1: steps are planned while earlier ones run, as on a device that runs beside the host. At random a step
  // needs the host, so that none is planned while it runs.
  int max_steps_in_flight = 1;
  // A store of KV blocks beyond the pool; only with one step in flight, as on the host.
  std::optional<SimulatedStore::Faults> store = {};
  bool adaptive_drafts = false;  // as many drafts as pay (draft_budget.h); off: all
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
  std::vector<double> token_ms = {};  // of the first choice's tokens; with SimulationOptions::keep_token_times
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
  int64_t num_fetched_tokens = 0;
  double worst_decode_gap_ms = 0.0;  // longest time between two tokens of one choice
};

// `requests` are sorted by arrival.
SimulationResult simulate(const std::vector<SimulatedRequest>& requests, const SimulationOptions& options);

// A random configuration and requests for it. Seeds vary everything the scheduler depends on: costs, pools, policies
// and load.
struct SwarmCase {
  SimulationOptions options;
  std::vector<SimulatedRequest> requests;
};
SwarmCase random_case(uint64_t seed, size_t num_requests);

// One line with the whole configuration, for the report of a failure.
std::string describe(const SimulationOptions& options);

}  // namespace quire
