#include "apps/bench_serve_options.h"

#include <algorithm>
#include <cmath>

#include "apps/flags/values.h"
#include "base/error.h"

namespace quire {
namespace {

load::Arrival choose_arrival(const BenchServeOptions& options) {
  if (options.arrival.empty()) return options.concurrency.empty() ? load::Arrival::kPoisson : load::Arrival::kClosed;
  const load::Arrival arrival = load::parse_arrival(options.arrival);
  if (!options.concurrency.empty() && arrival != load::Arrival::kClosed) {
    fail(ErrorCode::kInvalidArgument, "--concurrency makes a closed loop, but --arrival is {}", options.arrival);
  }
  if (arrival == load::Arrival::kTrace && options.trace.path.empty()) {
    fail(ErrorCode::kInvalidArgument, "--arrival trace needs the times of a trace: give --trace FILE.csv");
  }
  return arrival;
}

void add_server_options(Command& command, BenchServeOptions& options) {
  const std::string group = "Server";
  command.add(
      {.title = group, .has_environment = true},
      {{.names = "--api-key", .value = text(options.client.api_key, "KEY"), .help = "Key to send as a bearer token"}});
  command.add({.title = group},
              {{.names = "--base-url", .value = text(options.base_url, "URL"), .help = "URL of the server; plain HTTP"},
               {.names = "--endpoint",
                .value = choice(options.endpoint, {"completions", "chat"}),
                .help = "The endpoint that gets the requests"},
               {.names = "--model",
                .value = text(options.client.model, "ID"),
                .help = "Model to ask for",
                .default_text = "the first one that the server lists"},
               {.names = "--extra",
                .value = text(options.extra, "JSON"),
                .help = "JSON object whose members are added to every request"},
               {.names = "--new-connections",
                .value = on_off(options.new_connections),
                .help = "Open a connection for each request instead of keeping connections alive"},
               {.names = "--timeout",
                .value = real(options.client.timeout_s, 0.001, 86400.0),
                .help = "Seconds that a request may take"},
               {.names = "--max-in-flight",
                .value = number(options.client.max_in_flight, 1, 65536),
                .help = "Most unanswered requests; further ones fail when they are due"}});
}

void add_arrival_options(Command& command, BenchServeOptions& options) {
  const std::string group = "Arrivals";
  command.add(
      {.title = group},
      {{.names = "--arrival",
        .value = text(options.arrival, "NAME"),
        .help = "When requests are due: poisson (random gaps), fixed (equal gaps), closed (--concurrency) or trace",
        .default_text = "poisson"},
       {.names = "--rate,--rates,--request-rate,--qps",
        .value = positives(options.rates),
        .help = "Requests/s; several with commas between give a run each"},
       {.names = "--concurrency,--max-concurrency",
        .value = positives(options.concurrency),
        .help = "Clients that each wait for an answer before the next request; several with commas between give a run "
                "each"},
       {.names = "-n,--requests,--num-prompts",
        .value = number(options.num_requests, 1, 1000000),
        .help = "Requests of each run"},
       {.names = "--duration",
        .value = real(options.duration_s, 0.1, 86400.0),
        .help = "Seconds in which the requests of a run are due, instead of --requests",
        .default_text = "off",
        .excludes = "--requests"}});
  options.trace.add(command, group);
  command.add({.title = group}, {{.names = "--warmup",
                                  .value = number(options.warmup, 0, 10000),
                                  .help = "Requests sent before the measurement, all at once"}});
}

void add_prompt_options(Command& command, BenchServeOptions& options) {
  const std::string group = "Prompts";
  options.lengths.add(command, group);
  command.add({.title = group},
              {{.names = "--max-input-len",
                .value = number(options.max_input, 1, load::Lengths::kMax),
                .help = "Most tokens of a prompt; longer ones are cut"},
               {.names = "--max-output-len",
                .value = number(options.max_output, 1, load::Lengths::kMax),
                .help = "Most tokens of an answer"},
               {.names = "--ids",
                .value = on_off(options.client.token_ids),
                .help = "Send prompts as token ids; otherwise as words of about a token each"},
               {.names = "--first-id", .value = number(options.first_id), .help = "Smallest token id of --ids"},
               {.names = "--last-id", .value = number(options.last_id), .help = "Largest token id of --ids"},
               {.names = "--stop-at-eos",
                .value = on_off(options.stop_at_eos),
                .help = "Let answers end at the model's end token (no ignore_eos)"},
               {.names = "--prefix-seed", .value = number(options.prefix_seed), .help = "Seed of the shared prefix"}});
}

void add_result_options(Command& command, BenchServeOptions& options) {
  command.add(
      {.title = "Results"},
      {{.names = "--slo-ttft",
        .value = real(options.objective.ttft_ms),
        .help = "Goodput counts answers whose time to first token (TTFT) is at most this, ms",
        .default_text = "no limit"},
       {.names = "--slo-tpot",
        .value = real(options.objective.tpot_ms),
        .help = "Goodput counts answers whose time per output token (TPOT) is at most this, ms",
        .default_text = "no limit"},
       {.names = "--json", .value = text(options.json_path, "FILE"), .help = "Write all results to this file"},
       {.names = "--dump",
        .value = text(options.dump_path, "FILE"),
        .help = "Write one JSON object per request to this file"},
       {.names = "--plot", .value = text(options.plot_path, "FILE"), .help = "Draw the results into this SVG file"},
       {.names = "--compare",
        .value = texts(options.compare, "A B", 2),
        .help = "Compare two files that --json wrote, and send nothing"}});
}

}  // namespace

void BenchServeOptions::add(Command& command) {
  add_server_options(command, *this);
  add_arrival_options(command, *this);
  add_prompt_options(command, *this);
  add_result_options(command, *this);
}

load::WorkloadOptions BenchServeOptions::workload_options() const {
  load::WorkloadOptions workload;
  workload.arrival = choose_arrival(*this);
  workload.num_requests = num_requests;
  lengths.apply_to(workload);
  workload.max_input = max_input;
  workload.max_output = max_output;
  workload.prefix_seed = prefix_seed;
  trace.apply_to(workload);
  if (workload.arrival == load::Arrival::kTrace && !trace.has_times()) {
    fail(ErrorCode::kInvalidArgument, "{} has lengths but no times; choose another --arrival", trace.path);
  }
  if (first_id < 0 || first_id > last_id) {
    fail(ErrorCode::kInvalidArgument,
         "the token ids from {} to {} are no range; --first-id must be at least 0 and at most --last-id", first_id,
         last_id);
  }
  return workload;
}

std::vector<double> BenchServeOptions::choose_steps(load::Arrival chosen) const {
  if (chosen == load::Arrival::kTrace) return {trace.speed};
  std::vector<double> steps = chosen == load::Arrival::kClosed ? concurrency : rates;
  if (steps.empty()) steps = {1};
  std::sort(steps.begin(), steps.end());
  if (chosen != load::Arrival::kClosed) return steps;
  for (const double count : steps) {
    if (count == std::floor(count) && count <= static_cast<double>(client.max_in_flight)) continue;
    fail(ErrorCode::kInvalidArgument, "--concurrency is {:g}; write whole numbers up to --max-in-flight, {}", count,
         client.max_in_flight);
  }
  return steps;
}

load::ClientOptions BenchServeOptions::client_options() const {
  load::ClientOptions out = client;
  out.target = load::Target::parse(base_url);
  out.chat = endpoint == "chat";
  out.keep_alive = !new_connections;
  out.ignore_eos = !stop_at_eos;
  if (out.chat && out.token_ids) {
    fail(ErrorCode::kInvalidArgument, "--ids sends prompts of token ids, which only --endpoint completions takes");
  }
  for (const unsigned char c : out.api_key) {
    if (c <= ' ' || c >= 0x7f) fail(ErrorCode::kInvalidArgument, "--api-key has characters that no HTTP header takes");
  }
  if (!extra.empty()) {
    const json::value members = parse_json(extra, "--extra");
    if (!members.is_object()) fail(ErrorCode::kInvalidArgument, "--extra is no JSON object, such as {{\"top_k\": 1}}");
    out.extra = members.get_object();
  }
  if (out.model.empty()) out.model = load::first_model(out.target, out.api_key);
  return out;
}

}  // namespace quire
