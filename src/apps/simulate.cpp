// `quire simulate`: the production scheduler with a cost model in the place of the language model. Plans capacity, and
// repeats failures by their seed.

#include <fmt/format.h>

#include <chrono>
#include <fstream>
#include <memory>

#include "apps/commands.h"
#include "apps/flags/values.h"
#include "apps/interrupt.h"
#include "apps/loaded_model.h"
#include "apps/options.h"
#include "apps/scheduling_options.h"
#include "apps/step_costs.h"
#include "apps/workload_options.h"
#include "base/error.h"
#include "engine/simulator.h"
#include "measure/progress_bar.h"
#include "measure/report.h"
#include "measure/workload.h"

namespace quire {
namespace {

struct SimulateOptions {
  SchedulingOptions scheduling;
  ModelOptions limits;
  int64_t num_blocks = 1024;
  int64_t num_swap_blocks = 0;
  int64_t max_queued = 1024;
  std::vector<double> costs;
  std::string measure;
  double noise = 0.0;

  double rate = 1.0;
  int64_t num_requests = 1000;
  TraceOptions trace;
  LengthOptions lengths;

  uint64_t swarm_steps = 0;
  load::Objective objective;
  std::string json_path;
};

CostModel::Weights measured_costs(const SimulateOptions& options) {
  const std::unique_ptr<Checkpoint> checkpoint = open_checkpoint(options.measure);
  RunnerOptions runner_options = options.limits.runner_options(checkpoint.get());
  options.scheduling.apply_to(runner_options);
  runner_options.keep_all_positions = true;
  if (runner_options.max_context == 0) {
    runner_options.max_context = std::min<int64_t>(ModelRunner::info(*checkpoint).max_context, 4096);
  }
  const auto runner = load_runner(*checkpoint, runner_options);
  fmt::print(stderr, "measuring steps of {} with {} threads\n", checkpoint->name(), runner->options().num_threads);
  const std::vector<MeasuredStep> steps = measure_step_costs(*runner, 3);
  const CostModel model = fit_costs(steps);
  double worst = 0;
  for (const MeasuredStep& step : steps) worst = std::max(worst, std::abs(model.predict_ms(step.shape) / step.ms - 1));
  fmt::print("costs    --cost {:.4f}   (worst of {} shapes off by {:.0f} %)\n", fmt::join(model.weights(), " "),
             steps.size(), 100 * worst);
  return model.weights();
}

std::vector<SimulatedRequest> make_requests(const SimulateOptions& options) {
  load::WorkloadOptions workload;
  workload.rate = options.rate;
  workload.num_requests = options.num_requests;
  options.lengths.apply_to(workload);
  workload.seed = load::derived_seed(options.lengths.seed, 1);  // as `bench serve` draws its first run
  options.trace.apply_to(workload);
  if (options.trace.has_times()) workload.arrival = load::Arrival::kTrace;
  std::vector<SimulatedRequest> requests;
  for (const load::PlannedRequest& planned : load::plan_requests(workload)) {
    requests.push_back({.arrival_ms = planned.due_ms,
                        .prompt_tokens = planned.input_tokens,
                        .output_tokens = planned.output_tokens,
                        .shared_tokens = options.lengths.prefix_tokens});
  }
  return requests;
}

SimulationOptions simulation_options(const SimulateOptions& options) {
  SimulationOptions out;
  const RunnerOptions runner = options.limits.runner_options();
  RunnerOptions sized = runner;
  options.scheduling.apply_to(sized);
  out.scheduler = options.scheduling.scheduler_options();
  out.scheduler.hash_key = {options.lengths.seed, 0};  // the same seed repeats a run
  out.scheduler.block_size = kKvBlockSize;
  out.scheduler.kv_groups = {{.num_blocks = options.num_blocks, .num_host_blocks = options.num_swap_blocks}};
  out.scheduler.max_sequences = sized.max_sequences;
  out.scheduler.max_batch_tokens = sized.max_batch_tokens;
  out.max_queued_requests = options.max_queued;
  out.noise = options.noise;
  out.seed = options.lengths.seed;
  out.check = false;
  out.keep_token_times = true;
  if (!options.measure.empty()) {
    out.cost = measured_costs(options);
  } else if (!options.costs.empty()) {
    std::copy(options.costs.begin(), options.costs.end(), out.cost.begin());
  }
  return out;
}

const char* name(SimulatedOutcome::End end) {
  switch (end) {
    case SimulatedOutcome::End::kFinished: return "finished";
    case SimulatedOutcome::End::kRefused: return "queue full";
    case SimulatedOutcome::End::kTooLarge: return "larger than the KV pool";
    case SimulatedOutcome::End::kCancelled: return "cancelled";
    case SimulatedOutcome::End::kTimeout: return "timeout";
  }
  return "unknown";
}

std::vector<load::RequestRecord> records_of(const std::vector<SimulatedRequest>& requests,
                                            const SimulationResult& result) {
  std::vector<load::RequestRecord> records(requests.size());
  for (size_t i = 0; i < requests.size(); ++i) {
    const SimulatedOutcome& outcome = result.outcomes[i];
    load::RequestRecord& record = records[i];
    record.due_ms = record.sent_ms = requests[i].arrival_ms;
    record.end_ms = requests[i].arrival_ms + outcome.e2e_ms;
    record.planned_input = record.prompt_tokens = requests[i].prompt_tokens;
    record.planned_output = requests[i].output_tokens;
    record.completion_tokens = outcome.generated_tokens;
    record.cached_tokens = outcome.cached_tokens;
    record.token_ms = outcome.token_ms;
    record.status = 200;
    if (outcome.end == SimulatedOutcome::End::kFinished) continue;
    record.status = 429;
    record.error = name(outcome.end);
  }
  return records;
}

void simulate_load(const SimulateOptions& options) {
  std::ofstream json_file;
  if (!options.json_path.empty()) {
    json_file.open(options.json_path);
    if (!json_file) fail(ErrorCode::kIo, "'{}' cannot be written", printable(options.json_path));
  }
  const SimulationOptions simulation = simulation_options(options);
  const std::vector<SimulatedRequest> requests = make_requests(options);
  const SimulationResult result = simulate(requests, simulation);
  const std::vector<load::RequestRecord> records = records_of(requests, result);
  load::Run run{.summary = load::summarise(records, options.objective), .samples = load::collect(records)};
  run.summary.label = options.trace.path.empty() ? fmt::format("{:g} requests/s", options.rate) : "trace";
  run.summary.rate = options.rate;
  fmt::print("{}\n", load::describe(run.summary));
  fmt::print("steps    {}, {} rows computed, {} preemptions ({} by swap), longest gap in a stream {:.1f} ms\n",
             result.num_steps, result.computed_tokens, result.num_preemptions, result.num_swaps,
             result.worst_decode_gap_ms);
  if (json_file.is_open()) {
    const json::object workload = {{"simulated", describe(simulation)}};
    json_file << json::serialize(load::report_json(workload, {run})) << '\n';
    if (!json_file.flush()) fail(ErrorCode::kIo, "'{}' could not be written to its end", options.json_path);
  }
}

// Runs random configurations until so many steps ran, and checks every invariant in each step.
void swarm(const SimulateOptions& options) {
  catch_interrupts();
  load::ProgressBar bar;
  uint64_t steps = 0;
  uint64_t requests = 0;
  uint64_t seed = options.lengths.seed;
  const auto start = std::chrono::steady_clock::now();
  for (; steps < options.swarm_steps && !is_interrupted(); ++seed) {
    const SwarmCase made = random_case(seed, 200);
    steps += static_cast<uint64_t>(simulate(made.requests, made.options).num_steps);
    requests += made.requests.size();
    bar.show("swarm", static_cast<int64_t>(std::min(steps, options.swarm_steps)),
             static_cast<int64_t>(options.swarm_steps), fmt::format("{} steps, seed {}", steps, seed));
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  fmt::print("{} steps of {} requests in {} configurations, seeds {} to {}: every invariant held ({:.1f} s)\n", steps,
             requests, seed - options.lengths.seed, options.lengths.seed, seed - 1, seconds);
}

void add_workload(Command& command, SimulateOptions& options) {
  const std::string group = "Workload";
  command.add(
      {.title = group},
      {{.names = "--rate,--request-rate",
        .value = real(options.rate),
        .help = "Requests/s, with random gaps (Poisson)"},
       {.names = "-n,--requests", .value = number(options.num_requests, 1, 10'000'000), .help = "Number of requests"}});
  options.trace.add(command, group);
  options.lengths.add(command, group);
}

void add_machine(Command& command, SimulateOptions& options) {
  command.add(
      {.title = "Machine"},
      {{.names = "--blocks",
        .value = number(options.num_blocks, 1, 1 << 24),
        .help = fmt::format("KV blocks of {} tokens", kKvBlockSize)},
       {.names = "--swap-blocks", .value = number(options.num_swap_blocks, 0, 1 << 24), .help = "Blocks of swap space"},
       {.names = "--max-num-queued-reqs",
        .value = number(options.max_queued, 1, 1 << 24),
        .help = "Requests that may wait"},
       {.names = "--cost",
        .value = reals(options.costs, CostModel::kFeatures),
        .help = "Milliseconds of a step: fixed; per row up to 4, 8, 16, 64 and beyond; per sequence; per 1,000 "
                "attended positions",
        .default_text = "those of a small model on two cores"},
       {.names = "--measure",
        .value = text(options.measure, "MODEL"),
        .help = "Measure the costs on this machine with this model first",
        .excludes = "--cost"},
       {.names = "--noise",
        .value = real(options.noise, 0.0, 1.0),
        .help = "Random variation of the time of a step, relative"}});
}

void add_results(Command& command, SimulateOptions& options) {
  command.add({{.names = "--swarm",
                .value = number(options.swarm_steps),
                .help = "Run random configurations for this many steps instead, and check every invariant at each step",
                .default_text = "off"},
               {.names = "--slo-ttft",
                .value = real(options.objective.ttft_ms),
                .help = "Goodput counts answers whose time to first token (TTFT) is at most this, ms",
                .default_text = "no limit"},
               {.names = "--slo-tpot",
                .value = real(options.objective.tpot_ms),
                .help = "Goodput counts answers whose time per output token (TPOT) is at most this, ms",
                .default_text = "no limit"},
               {.names = "--json",
                .value = text(options.json_path, "FILE"),
                .help = "Write all results to this file, in the form of 'quire bench serve --json'"}});
}

}  // namespace

void add_simulate_command(Command& program) {
  Command& command =
      program.add_command("simulate", "Simulate the scheduler: plan capacity, or search for broken invariants");
  const auto options = std::make_shared<SimulateOptions>();
  options->limits.max_sequences = 32;
  add_workload(command, *options);
  add_machine(command, *options);
  add_results(command, *options);
  options->limits.add_limits(command);
  options->limits.add_compute(command);
  options->scheduling.add(command);
  command.on_run([options] {
    if (options->swarm_steps > 0) {
      swarm(*options);
    } else {
      simulate_load(*options);
    }
  });
}

}  // namespace quire
