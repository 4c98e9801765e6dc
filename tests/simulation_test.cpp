// The production step loop and scheduler through a million simulated steps of random configurations, and guarantees
// about overload, tenants and priorities. A failure names its seed: SimulationOptions::seed repeats it exactly.
#include "engine/simulator.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "base/error.h"

namespace quire {
namespace {

using End = SimulatedOutcome::End;

SimulationResult simulate(const SwarmCase& made) { return quire::simulate(made.requests, made.options); }

#ifdef NDEBUG
constexpr int64_t kSwarmSteps = 1'000'000;
#else
constexpr int64_t kSwarmSteps = 100'000;  // sanitizers take ten times as long
#endif

TEST(Simulation, AMillionStepsKeepEveryInvariant) {
  int64_t steps = 0;
  std::map<End, int64_t> ends;
  int64_t preemptions = 0;
  int64_t swaps = 0;
  int64_t cached = 0;
  int64_t accepted = 0;
  int64_t rejected = 0;
  int64_t fetched = 0;
  for (uint64_t seed = 1; steps < kSwarmSteps; ++seed) {
    const SimulationResult result = simulate(random_case(seed, 200));
    steps += result.num_steps;
    preemptions += result.num_preemptions;
    swaps += result.num_swaps;
    accepted += result.num_accepted_drafts;
    rejected += result.num_rejected_drafts;
    fetched += result.num_fetched_tokens;
    for (const SimulatedOutcome& outcome : result.outcomes) {
      ++ends[outcome.end];
      cached += outcome.cached_tokens;
    }
  }
  for (const End end : {End::kFinished, End::kRefused, End::kTooLarge, End::kCancelled, End::kTimeout}) {
    EXPECT_GT(ends[end], 10) << "an ending the configurations were meant to reach: " << static_cast<int>(end);
  }
  EXPECT_GT(preemptions, 100);
  EXPECT_GT(swaps, 100);
  EXPECT_GT(cached, 1'000);
  EXPECT_GT(accepted, 1'000);
  EXPECT_GT(rejected, 1'000);
  EXPECT_GT(fetched, kSwarmSteps / 500);
}

TEST(Simulation, ASeedRepeatsARunExactly) {
  for (uint64_t seed = 1; seed < 20; ++seed) {
    const SimulationResult first = simulate(random_case(seed, 100));
    const SimulationResult second = simulate(random_case(seed, 100));
    EXPECT_EQ(first.num_steps, second.num_steps);
    EXPECT_EQ(first.duration_ms, second.duration_ms);
  }
}

SimulationOptions serving(int64_t num_blocks, int64_t max_sequences) {
  SimulationOptions options;
  options.scheduler.kv_groups = {{.num_blocks = num_blocks}};
  options.scheduler.block_size = 32;
  options.scheduler.max_sequences = max_sequences;
  options.scheduler.max_batch_tokens = 512;
  options.max_queued_requests = 100'000;
  return options;
}

// Pools as the memory plan sizes them: windows are never what ends a sequence's stay.
TEST(Simulation, WindowsOfPlannedSizeCauseNoPreemption) {
  SimulationOptions options = serving(16 * 64, 16);
  options.scheduler.max_batch_tokens = 256;
  // Of 300 positions: 10 blocks and one at either end for each, the tokens of a step, a window for each sequence
  // cached.
  options.scheduler.kv_groups.push_back({.window = 300, .num_blocks = 16 * 12 + 8 + 16 * 11});
  std::vector<SimulatedRequest> requests(300);
  for (size_t i = 0; i < requests.size(); ++i) {
    requests[i] = {.arrival_ms = static_cast<double>(i) * 100,
                   .prompt_tokens = static_cast<int64_t>(100 + i * 7919 % 1700),
                   .output_tokens = static_cast<int64_t>(20 + i * 104729 % 200),
                   .shared_tokens = i % 2 == 0 ? 100 : 0,
                   .prefix = static_cast<int32_t>(i % 6)};
  }
  const SimulationResult result = simulate(requests, options);
  EXPECT_EQ(result.num_preemptions, 0);
  int64_t cached_tokens = 0;
  for (const SimulatedOutcome& outcome : result.outcomes) {
    EXPECT_EQ(outcome.end, SimulatedOutcome::End::kFinished);
    cached_tokens += outcome.cached_tokens;
  }
  EXPECT_GT(cached_tokens, 0);
}

// A pool of a quarter of the blocks that the requests need.
TEST(Simulation, GoodputHoldsUnderManyPreemptions) {
  std::vector<SimulatedRequest> requests(400);
  for (size_t i = 0; i < requests.size(); ++i) {
    requests[i].prompt_tokens = 50 + static_cast<int64_t>(i % 7) * 30;
    requests[i].output_tokens = 100 + static_cast<int64_t>(i * 37 % 400);
  }
  const SimulationResult ideal = quire::simulate(requests, serving(32 * 24, 32));
  const SimulationResult storm = quire::simulate(requests, serving(8 * 24, 32));
  EXPECT_GT(storm.num_preemptions, 0);
  int64_t most = 0;
  for (const SimulatedOutcome& outcome : storm.outcomes) {
    EXPECT_EQ(outcome.end, End::kFinished);
    most = std::max(most, outcome.num_preemptions);
  }
  EXPECT_LE(most, 3);
  // Work done twice, relative to all work.
  EXPECT_LT(static_cast<double>(storm.computed_tokens), static_cast<double>(ideal.computed_tokens) / 0.7);
}

TEST(Simulation, ATenantWithTooManyRequestsGetsNoMoreThanItsShare) {
  SimulationOptions options = serving(2000, 8);
  options.scheduler.policy = SchedulingPolicy::kFair;
  std::vector<SimulatedRequest> requests;
  const double duration_ms = 30'000;
  for (int tenant = 0; tenant < 10; ++tenant) {
    const double gap = tenant == 0 ? 15.0 : 1500.0;  // one at a hundred times the rate of each of the others
    for (double at = tenant; at < duration_ms; at += gap) {
      SimulatedRequest request;
      request.arrival_ms = at;
      request.prompt_tokens = 60;
      request.output_tokens = 40;
      request.tenant = std::string(1, static_cast<char>('0' + tenant));
      requests.push_back(request);
    }
  }
  std::sort(requests.begin(), requests.end(), [](const auto& a, const auto& b) { return a.arrival_ms < b.arrival_ms; });
  const SimulationResult result = quire::simulate(requests, options);
  // Tokens of work by tenant that were done while the flood lasted.
  std::map<std::string, int64_t> work;
  int64_t total = 0;
  for (size_t i = 0; i < requests.size(); ++i) {
    const double end = requests[i].arrival_ms + result.outcomes[i].e2e_ms;
    if (end > duration_ms) continue;
    work[requests[i].tenant] += 100;
    total += 100;
  }
  for (int tenant = 1; tenant < 10; ++tenant) {
    const std::string name(1, static_cast<char>('0' + tenant));
    const int64_t asked = 100 * static_cast<int64_t>(duration_ms / 1500.0);
    const int64_t share = std::min<int64_t>(asked, total / 10);
    EXPECT_GT(work[name], share * 9 / 10) << "tenant " << name;
  }
}

TEST(Simulation, UrgentRequestsWaitAtMostTwoSteps) {
  SimulationOptions options = serving(600, 8);
  options.scheduler.policy = SchedulingPolicy::kPriority;
  std::vector<SimulatedRequest> requests;
  std::mt19937_64 random(5);
  for (int i = 0; i < 1500; ++i) {  // about ten times what can be served
    SimulatedRequest request;
    request.arrival_ms = i * 30.0;
    request.prompt_tokens = 100;
    request.output_tokens = 100;
    request.priority = i % 50 == 7 ? 0 : 9;
    if (request.priority == 0) request.output_tokens = 10;
    requests.push_back(request);
  }
  const SimulationResult result = quire::simulate(requests, options);
  std::vector<int64_t> steps;
  for (size_t i = 0; i < requests.size(); ++i) {
    if (requests[i].priority == 0) steps.push_back(result.outcomes[i].steps_until_first);
  }
  std::sort(steps.begin(), steps.end());
  EXPECT_LE(steps[steps.size() * 99 / 100], 2);
}

TEST(Simulation, TheLatencyTargetHoldsWhenALongPromptArrives) {
  SimulationOptions options = serving(4000, 16);
  options.scheduler.target_step_ms = 100.0;
  std::vector<SimulatedRequest> requests(9);
  for (int i = 0; i < 8; ++i) requests[static_cast<size_t>(i)] = {.prompt_tokens = 100 + i, .output_tokens = 600};
  requests[8] = {.arrival_ms = 6000, .prompt_tokens = 4096, .output_tokens = 10};
  const SimulationResult bounded = quire::simulate(requests, options);
  EXPECT_LT(bounded.worst_decode_gap_ms, 110.0);  // until the costs are known the slices are small
  options.scheduler.target_step_ms = 0.0;
  const SimulationResult unbounded = quire::simulate(requests, options);
  EXPECT_GT(unbounded.worst_decode_gap_ms, 1000.0) << "the case was meant to need the bound";
}

// Drafts of every quality beside plain decoding, from one stream to a loaded server; as fast as the weights allow, or
// as two cores are with a model of 1.1 billion weights.
TEST(Simulation, AdaptiveDraftsNeverSlowAServerDown) {
  const CostModel::Weights machines[] = {{25.0, 0.2, 0.2, 0.2, 3.0, 3.0, 0.05, 0.3},
                                         {15.5, 0.7, 3.7, 3.7, 4.2, 4.2, 0.1, 2.0}};
  for (const CostModel::Weights& machine : machines) {
    for (const int num_streams : {1, 2, 4, 8, 16, 32}) {
      SimulationOptions options = serving(4000, num_streams);
      options.cost = machine;
      options.noise = 0.05;
      options.check = false;
      options.adaptive_drafts = true;
      std::vector<SimulatedRequest> requests(static_cast<size_t>(2 * num_streams));
      for (size_t i = 0; i < requests.size(); ++i) {
        requests[i] = {.prompt_tokens = static_cast<int64_t>(40 + i % 9), .output_tokens = 400};
      }
      const double plain_ms = quire::simulate(requests, options).duration_ms;
      for (const int percent : {0, 20, 40, 60, 80, 95}) {
        for (SimulatedRequest& request : requests) {
          request.num_drafts = 5;
          request.draft_percent = percent;
        }
        const double speedup = plain_ms / quire::simulate(requests, options).duration_ms;
        EXPECT_GT(speedup, 0.98) << num_streams << " streams, " << percent << " %, fixed " << machine[0];
        const double least = num_streams == 1 ? 2.0 : num_streams == 4 ? 1.02 : 0.98;
        if (percent == 95) {
          EXPECT_GT(speedup, least) << num_streams << " streams, fixed " << machine[0];
        }
      }
    }
  }
}

TEST(Simulation, DraftsKeepTheLatencyTarget) {
  SimulationOptions options = serving(4000, 16);
  options.scheduler.target_step_ms = 100.0;
  options.adaptive_drafts = true;
  std::vector<SimulatedRequest> requests(9);
  for (size_t i = 0; i < 8; ++i) {
    requests[i] = {.prompt_tokens = 100, .output_tokens = 600, .num_drafts = 8, .draft_percent = 95};
  }
  requests[8] = {.arrival_ms = 3000, .prompt_tokens = 2048, .output_tokens = 10};
  const SimulationResult drafted = quire::simulate(requests, options);
  EXPECT_LT(drafted.worst_decode_gap_ms, 110.0);
  EXPECT_GT(drafted.num_accepted_drafts, 1000);
}

}  // namespace
}  // namespace quire
