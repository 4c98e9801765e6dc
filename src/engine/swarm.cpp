#include <random>

#include "engine/simulator.h"

namespace quire {
namespace {

// In half of the cases adds groups with windows or gives the first group a window.
void add_windows(SchedulerOptions& scheduler, std::mt19937_64& random) {
  const auto below = [&](int64_t n) { return static_cast<int64_t>(random() % static_cast<uint64_t>(n)); };
  const KvGroupOptions full = scheduler.kv_groups[0];
  const auto windowed = [&] {
    const int64_t window = 2 + below(3 * scheduler.block_size);
    return KvGroupOptions{.window = window,
                          .num_blocks = 4 + below(full.num_blocks),
                          .num_host_blocks = full.num_host_blocks == 0 ? 0 : below(full.num_host_blocks)};
  };
  const int64_t kind = below(8);
  if (kind < 3) scheduler.kv_groups.push_back(windowed());
  if (kind == 2) scheduler.kv_groups.push_back(windowed());
  if (kind == 3) scheduler.kv_groups[0].window = 2 + below(3 * scheduler.block_size);
}

SimulationOptions random_options(uint64_t seed) {
  std::mt19937_64 random(seed);
  const auto below = [&](uint64_t n) { return static_cast<int64_t>(random() % n); };
  SimulationOptions options;
  options.seed = seed;
  options.noise = below(2) * 0.2;
  options.max_queued_requests = 1 + below(64);
  SchedulerOptions& scheduler = options.scheduler;
  scheduler.block_size = int64_t{1} << below(5);
  scheduler.kv_groups = {{.num_blocks = 4 + below(64)}};
  scheduler.max_sequences = 1 + below(12);
  scheduler.max_batch_tokens = scheduler.max_sequences + below(64);
  scheduler.policy = static_cast<SchedulingPolicy>(below(4));
  scheduler.first_served = static_cast<FirstServed>(below(2));
  scheduler.chunked_prefill = below(5) != 0;
  scheduler.target_step_ms = static_cast<double>(below(2) * below(200));
  scheduler.prefix_caching = below(3) != 0;
  scheduler.static_batching = below(6) == 0 ? StaticBatching::kRefilled : StaticBatching::kOff;
  scheduler.preemption = static_cast<Preemption>(below(3));
  scheduler.kv_groups[0].num_host_blocks = below(2) * below(64);
  scheduler.eviction = static_cast<Eviction>(below(2));
  add_windows(options.scheduler, random);
  options.max_steps_in_flight = below(2) == 0 ? 1 : static_cast<int>(2 + below(3));
  scheduler.rope_switch_length = below(2) * (1 + below(100));
  scheduler.max_branches = below(4) * below(6);
  options.adaptive_drafts = below(2) == 0;
  if (options.max_steps_in_flight == 1 && below(2) == 0) {
    options.store = {.polls_until_done = static_cast<int>(below(4)),
                     .in_random_order = below(2) == 0,
                     .share_failing = below(3) == 0 ? 0.2 : 0.0};
  }
  return options;
}

std::vector<SimulatedRequest> random_requests(uint64_t seed, size_t count) {
  std::mt19937_64 random(seed ^ 0x5eed);
  const auto below = [&](uint64_t n) { return static_cast<int64_t>(random() % n); };
  const double gap_ms = static_cast<double>(1 + below(400));
  std::vector<SimulatedRequest> requests(count);
  double now = 0;
  for (SimulatedRequest& request : requests) {
    now += below(4) == 0 ? 0.0 : std::exponential_distribution<double>(1 / gap_ms)(random);
    request.arrival_ms = now;
    request.prompt_tokens = 1 + below(below(8) == 0 ? 400 : 60);
    request.output_tokens = 1 + below(below(8) == 0 ? 200 : 30);
    request.num_choices = below(6) == 0 ? static_cast<int>(1 + below(4)) : 1;
    // Drafters that are always wrong, always right or of any kind; some draft more than there is room for.
    request.num_drafts = below(3) == 0 ? static_cast<int>(1 + below(below(8) == 0 ? 100 : 6)) : 0;
    request.draft_percent = static_cast<int>(below(3) == 0 ? 100 * below(2) : below(101));
    request.draft_trees = below(2) == 0;
    if (request.draft_trees) request.num_drafts *= 3;
    request.shared_tokens = below(2) * below(static_cast<uint64_t>(request.prompt_tokens) + 1);
    request.prefix = static_cast<int32_t>(below(4));
    request.priority = static_cast<int32_t>(below(3));
    request.tenant = std::string(1, static_cast<char>('a' + below(4)));
    request.timeout_ms = below(10) == 0 ? static_cast<double>(1 + below(20'000)) : 0.0;
    request.cancel_ms = below(8) == 0 ? static_cast<double>(1 + below(5'000)) : 0.0;
    if (below(3) == 0) request.stop_after = 1 + below(static_cast<uint64_t>(request.output_tokens));
  }
  return requests;
}

}  // namespace

SwarmCase random_case(uint64_t seed, size_t num_requests) {
  return {random_options(seed), random_requests(seed, num_requests)};
}

}  // namespace quire
