#include "apps/scheduling_options.h"

#include <algorithm>

#include "apps/options.h"
#include "apps/units.h"
#include "base/error.h"

namespace quire {
namespace {

// Steps of this many tokens keep the matrix kernels busy when nobody watches the single stream.
constexpr int64_t kThroughputBatchTokens = 2048;
// Beyond one for each sequence: what a prompt with log probabilities or a mean embedding gets in a step.
constexpr int64_t kPromptRows = 64;

void check_target(const std::string& target) {
  if (target == "balanced" || target == "ttft" || target == "throughput") return;
  fail(ErrorCode::kInvalidArgument, "the target '{}' is unknown; choices are balanced, ttft, throughput",
       printable(target, 40));
}

}  // namespace

void SchedulingOptions::add(CLI::App& to) {
  app = &to;
  const std::string group = "Scheduling";
  const auto add_option = [&](CLI::Option* option) { with_environment(option->group(group)); };
  add_option(to.add_option("--target", target,
                           "balanced (default): running streams first; ttft: prompts first; throughput: large steps"));
  add_option(to.add_option("--itl-target-ms", itl_target_ms,
                           "Longest gap between the tokens of a stream that prompts of others may cause; 0: no limit")
                 ->check(CLI::Range(0.0, 1e6)));
  add_option(to.add_option("--scheduling-policy", policy, "Who comes first: fcfs (default), priority, fair, deadline"));
  add_option(to.add_flag("--enable-prefix-caching,!--no-enable-prefix-caching,!--no-prefix-caching", prefix_caching,
                         "Keep the KV blocks of prompts for others that begin alike (on)"));
  add_option(to.add_flag("--enable-chunked-prefill,!--no-enable-chunked-prefill", chunked_prefill,
                         "Cut prompts into slices that run beside decodes (on)"));
  add_option(
      to.add_option("--preemption-mode", preemption, "When KV blocks run out: recompute, swap or cheapest (default)"));
  add_option(to.add_option("--swap-space", swap_space,
                           "Memory for the KV of preempted sequences, for example 1GiB (default: none)"));
  add_option(to.add_option("--static-batching", static_batching,
                           "A baseline: refilled (a batch starts when the last has ended); default off"));
}

void SchedulingOptions::add_run_ahead(CLI::App& to) {
  with_environment(to.add_flag("--run-ahead,!--no-run-ahead", run_ahead,
                               "On a GPU: prepare the next step while one runs (on); off to measure what it brings")
                       ->group("Scheduling"));
}

SchedulerOptions SchedulingOptions::scheduler_options() const {
  check_target(target);
  SchedulerOptions options;
  options.policy = parse_scheduling_policy(policy);
  options.first_served = target == "ttft" ? FirstServed::kPrefill : FirstServed::kDecode;
  options.chunked_prefill = chunked_prefill;
  options.target_step_ms = itl_target_ms;
  options.prefix_caching = prefix_caching;
  options.static_batching = parse_static_batching(static_batching);
  options.preemption = parse_preemption(preemption);
  return options;
}

void SchedulingOptions::apply_to(RunnerOptions& options) const {
  if (target == "throughput" && app->count("--batch-size") == 0) {
    options.max_batch_tokens = std::max(options.max_batch_tokens, kThroughputBatchTokens);
  }
  options.max_logit_rows = std::min(options.max_sequences + kPromptRows, options.max_batch_tokens);
  if (!swap_space.empty()) options.swap_bytes = parse_quantity(swap_space, "--swap-space");
}

}  // namespace quire
