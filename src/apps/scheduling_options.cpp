#include "apps/scheduling_options.h"

#include <algorithm>

#include "apps/flags/values.h"
#include "base/error.h"

namespace quire {
namespace {

// Large steps use the matrix kernels best; the latency of a single stream does not matter for this target.
constexpr int64_t kThroughputBatchTokens = 2048;
// Rows of logits in a step beyond one for each sequence: for prompts with log probabilities or a mean embedding.
constexpr int64_t kPromptRows = 64;

void check_target(const std::string& target) {
  if (target == "balanced" || target == "ttft" || target == "throughput") return;
  fail(ErrorCode::kInvalidArgument, "the target '{}' is unknown; choices are balanced, ttft, throughput",
       printable(target, 40));
}

}  // namespace

void SchedulingOptions::add(Command& to) {
  command = &to;
  to.add(
      {.title = "Scheduling", .has_environment = true},
      {{.names = "--target",
        .value = text(target, "NAME"),
        .help = "balanced: running streams first; ttft: prompts first; throughput: large steps"},
       {.names = "--itl-target-ms",
        .value = real(itl_target_ms, 0.0, 1e6),
        .help = "Inter-token latency target: the longest gap, in ms, that the prefills of other requests may add to a "
                "stream; 0: no limit"},
       {.names = "--scheduling-policy",
        .value = text(policy, "NAME"),
        .help = "Which request runs first: fcfs, priority, fair or deadline"},
       {.names = "--enable-prefix-caching,!--no-enable-prefix-caching,!--no-prefix-caching",
        .value = on_off(prefix_caching),
        .help = "Keep the KV blocks of prompts for requests that begin with the same tokens"},
       {.names = "--enable-chunked-prefill,!--no-enable-chunked-prefill",
        .value = on_off(chunked_prefill),
        .help = "Divide long prompts into chunks that run beside decodes"},
       {.names = "--preemption-mode",
        .value = text(preemption, "NAME"),
        .help = "When KV blocks run out: recompute, swap or cheapest"},
       {.names = "--cache-eviction",
        .value = text(eviction, "NAME"),
        .help = "Which cached KV blocks go first: lru, the least recently used; segmented, before them those that no "
                "prompt has found again"},
       {.names = "--swap-space",
        .value = gibibytes(swap_bytes, 0),
        .help = "Memory for the KV of preempted sequences, for example 512MiB; a number alone is GiB",
        .default_text = "none"},
       {.names = "--static-batching",
        .value = text(static_batching, "NAME"),
        .help = "A baseline to measure against: refilled (a batch starts when the last one has ended), or off"}});
}

void SchedulingOptions::add_run_ahead(Command& to) {
  to.add({.title = "Scheduling", .has_environment = true},
         {{.names = "--run-ahead,!--no-run-ahead",
           .value = on_off(run_ahead),
           .help = "On a GPU, plan and launch the next step while one runs"}});
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
  options.eviction = parse_eviction(eviction);
  return options;
}

void SchedulingOptions::apply_to(RunnerOptions& options) const {
  if (target == "throughput" && !command->was_given("--batch-size")) {
    options.max_batch_tokens = std::max(options.max_batch_tokens, kThroughputBatchTokens);
  }
  options.max_logit_rows = std::min(options.max_sequences + kPromptRows, options.max_batch_tokens);
  if (swap_bytes) options.swap_bytes = *swap_bytes;
}

}  // namespace quire
