// `quire bench serve`: load on an OpenAI-compatible server, and what its users would feel.

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <fstream>
#include <memory>

#include "apps/bench.h"
#include "apps/interrupt.h"
#include "apps/options.h"
#include "apps/workload_options.h"
#include "base/error.h"
#include "measure/client.h"
#include "measure/progress_bar.h"
#include "measure/report.h"

namespace quire {
namespace {

struct BenchServeOptions {
  std::string base_url = "http://127.0.0.1:8080";
  std::string endpoint = "completions";
  load::ClientOptions client;
  std::string extra;
  bool new_connections = false;
  bool stop_at_eos = false;

  std::string arrival;
  std::string rates = "1";
  std::string concurrency;
  int64_t num_requests = 100;
  double duration_s = 0;
  TraceOptions trace;
  int64_t warmup = 1;

  LengthOptions lengths;
  int64_t max_input = load::Lengths::kMost;
  int64_t max_output = load::Lengths::kMost;
  int32_t first_id = 1000;
  int32_t last_id = 28999;
  uint64_t prefix_seed = 1;

  load::Objective objective;
  std::string json_path, dump_path, plot_path;
  std::vector<std::string> compare;
};

std::vector<double> parse_numbers(const std::string& text, const char* what) {
  std::vector<double> numbers;
  const char* at = text.data();
  const char* const end = at + text.size();
  while (true) {
    double value = 0;
    const auto [rest, error] = std::from_chars(at, end, value);
    const bool is_number = error == std::errc() && std::isfinite(value) && value > 0 && value <= 1e6;
    if (!is_number || (rest != end && *rest != ',')) {
      fail(ErrorCode::kInvalidArgument, "{} is '{}'; write numbers above 0 with commas between, such as 0.5,1,2", what,
           printable(text, 60));
    }
    numbers.push_back(value);
    if (rest == end) break;
    at = rest + 1;
  }
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

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

load::WorkloadOptions workload_options(const BenchServeOptions& options) {
  load::WorkloadOptions workload;
  workload.arrival = choose_arrival(options);
  workload.num_requests = options.num_requests;
  options.lengths.apply_to(workload);
  workload.max_input = options.max_input;
  workload.max_output = options.max_output;
  workload.prefix_seed = options.prefix_seed;
  options.trace.apply_to(workload);
  if (workload.arrival == load::Arrival::kTrace && !options.trace.has_times()) {
    fail(ErrorCode::kInvalidArgument, "{} has lengths but no times; choose another --arrival", options.trace.path);
  }
  if (options.first_id < 0 || options.first_id > options.last_id) {
    fail(ErrorCode::kInvalidArgument, "the token ids from {} to {} are no range", options.first_id, options.last_id);
  }
  return workload;
}

// What changes from run to run of a sweep.
std::vector<double> choose_steps(const BenchServeOptions& options, load::Arrival arrival) {
  if (arrival == load::Arrival::kTrace) return {options.trace.speed};
  if (arrival != load::Arrival::kClosed) return parse_numbers(options.rates, "--rates");
  std::vector<double> clients = parse_numbers(options.concurrency.empty() ? "1" : options.concurrency, "--concurrency");
  for (const double count : clients) {
    if (count == std::floor(count) && count <= static_cast<double>(options.client.max_in_flight)) continue;
    fail(ErrorCode::kInvalidArgument, "--concurrency is {:g}; write whole numbers up to --max-in-flight, {}", count,
         options.client.max_in_flight);
  }
  return clients;
}

load::ClientOptions client_options(const BenchServeOptions& options) {
  load::ClientOptions client = options.client;
  client.target = load::Target::parse(options.base_url);
  client.chat = options.endpoint == "chat";
  client.keep_alive = !options.new_connections;
  client.ignore_eos = !options.stop_at_eos;
  if (client.chat && client.token_ids) {
    fail(ErrorCode::kInvalidArgument, "--ids sends prompts of token ids, which only --endpoint completions takes");
  }
  for (const unsigned char c : client.api_key) {
    if (c <= ' ' || c >= 0x7f) fail(ErrorCode::kInvalidArgument, "--api-key has characters that no HTTP header takes");
  }
  if (!options.extra.empty()) {
    const json::value extra = parse_json(options.extra, "--extra");
    if (!extra.is_object()) fail(ErrorCode::kInvalidArgument, "--extra is no JSON object, such as {{\"top_k\": 1}}");
    client.extra = extra.get_object();
  }
  if (client.model.empty()) client.model = load::first_model(client.target, client.api_key);
  return client;
}

// Each request in flight is a connection.
void raise_file_limit() {
  struct rlimit limit = {};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

json::object workload_json(const BenchServeOptions& options, const load::WorkloadOptions& workload,
                           const load::ClientOptions& client) {
  return {{"base_url", options.base_url},
          {"endpoint", options.endpoint},
          {"model", client.model},
          {"prompts", client.token_ids ? "ids" : "text"},
          {"arrival", load::name(workload.arrival)},
          {"prefix_tokens", workload.prefix_tokens},
          {"input_tokens", workload.trace.empty() ? workload.input.text() : "trace"},
          {"output_tokens", workload.trace.empty() ? workload.output.text() : "trace"},
          {"ignore_eos", client.ignore_eos},
          {"keep_alive", client.keep_alive},
          {"extra", client.extra},
          {"warmup", options.warmup},
          {"seed", options.lengths.seed},
          {"prefix_seed", options.prefix_seed},
          {"slo_ttft_ms", options.objective.ttft_ms},
          {"slo_tpot_ms", options.objective.tpot_ms}};
}

class BenchServe {
 public:
  explicit BenchServe(const BenchServeOptions& options)
      : options_(options),
        workload_(workload_options(options)),
        steps_(choose_steps(options, workload_.arrival)),
        client_(client_options(options)) {
    if (!options.dump_path.empty()) open(dump_, options.dump_path);
    if (!options.json_path.empty()) open(json_, options.json_path);
    if (!options.plot_path.empty()) open(plot_, options.plot_path);
  }

  void run() {
    raise_file_limit();
    catch_interrupts();
    warm_up();
    for (size_t i = 0; i < steps_.size() && !is_interrupted(); ++i) {
      // Another seed for each step: the prompts of one would lie in the server's cache for the next.
      workload_.seed = load::derived_seed(options_.lengths.seed, 1 + i);
      run_step(steps_[i]);
    }
    finish();
  }

 private:
  static void open(std::ofstream& file, const std::string& path) {
    file.open(path);
    if (!file) fail(ErrorCode::kIo, "'{}' cannot be written", printable(path));
  }

  void warm_up() {
    if (options_.warmup == 0) return;
    load::WorkloadOptions workload = workload_;
    workload.arrival = load::Arrival::kClosed;
    workload.num_requests = options_.warmup;
    workload.seed = load::derived_seed(options_.lengths.seed, 0);
    const auto records = send("warm-up", workload, options_.warmup);
    const auto failed = std::find_if(records.begin(), records.end(), [](const auto& record) { return !record.ok(); });
    if (failed == records.end() || is_interrupted()) return;
    const std::string reason =
        failed->error_detail.empty() ? failed->error : fmt::format("{}: {}", failed->error, failed->error_detail);
    const bool all_failed =
        std::none_of(records.begin(), records.end(), [](const auto& record) { return record.ok(); });
    if (all_failed) fail(ErrorCode::kIo, "every warm-up request failed, the first with {}", reason);
    fmt::print(stderr, "quire: a warm-up request failed with {}\n", reason);
  }

  void run_step(double step) {
    const bool is_closed = workload_.arrival == load::Arrival::kClosed;
    workload_.rate = step;
    if (options_.duration_s > 0 && !is_closed && workload_.arrival != load::Arrival::kTrace) {
      workload_.num_requests = std::max<int64_t>(1, std::llround(options_.duration_s * step));
    }
    const auto concurrency = is_closed ? static_cast<int64_t>(step) : 0;
    std::string label = fmt::format("{:g} requests/s", step);
    if (is_closed) label = fmt::format("{} {}", concurrency, concurrency == 1 ? "client" : "clients");
    if (workload_.arrival == load::Arrival::kTrace) label = fmt::format("trace x {:g}", step);
    const std::vector<load::RequestRecord> records = send(label, workload_, concurrency);
    load::Run run{.summary = load::summarise(records, options_.objective), .samples = load::collect(records)};
    run.summary.label = label;
    run.summary.concurrency = concurrency;
    if (!is_closed) {
      // What a trace offers is its mean.
      run.summary.rate = workload_.arrival != load::Arrival::kTrace || records.back().due_ms <= 0
                             ? step
                             : 1000.0 * static_cast<double>(records.size()) / records.back().due_ms;
    }
    for (const load::RequestRecord& record : records) {
      if (!dump_.is_open()) break;
      json::object line = load::to_json(record);
      line["run"] = label;
      dump_ << json::serialize(line) << '\n';
    }
    fmt::print("{}\n", load::describe(run.summary));
    std::fflush(stdout);
    runs_.push_back(std::move(run));
  }

  std::vector<load::RequestRecord> send(const std::string& label, const load::WorkloadOptions& workload,
                                        int64_t concurrency) {
    const load::PromptMaker prompts(workload, options_.first_id, options_.last_id);
    load::ProgressBar bar;
    const auto on_progress = [&](const load::Progress& progress) {
      const double seconds = std::max(progress.elapsed_s, 1e-3);
      bar.show(label, progress.num_done, progress.num_requests,
               fmt::format("{}/{}  in flight {}  failed {}  {:.2f} requests/s  {:.1f} tokens/s  {:.0f} s",
                           progress.num_done, progress.num_requests, progress.num_sent - progress.num_done,
                           progress.num_failed, static_cast<double>(progress.num_done) / seconds,
                           static_cast<double>(progress.num_tokens) / seconds, progress.elapsed_s));
      return !is_interrupted();
    };
    return load::run_load(client_, prompts, load::plan_requests(workload), concurrency, on_progress);
  }

  void finish() {
    if (runs_.empty()) return;
    if (const int64_t knee = load::find_knee(runs_); knee >= 0) {
      const load::LoadSummary& at = runs_[static_cast<size_t>(knee)].summary;
      fmt::print("knee at {:g} requests/s offered: {:.2f} served\n", at.rate, at.per_second(at.num_ok));
    }
    if (json_.is_open()) {
      json_ << json::serialize(load::report_json(workload_json(options_, workload_, client_), runs_)) << '\n';
    }
    if (plot_.is_open()) {
      plot_ << load::report_svg(
          fmt::format("{} at {}", client_.model.empty() ? "model" : client_.model, client_.target.authority()), runs_);
    }
    for (std::ofstream* file : {&dump_, &json_, &plot_}) {
      if (file->is_open() && !file->flush()) fail(ErrorCode::kIo, "a result file could not be written to its end");
    }
    const auto answered = [](const load::Run& run) { return run.summary.num_ok > 0; };
    if (std::none_of(runs_.begin(), runs_.end(), answered)) fail(ErrorCode::kIo, "no request was answered");
  }

  const BenchServeOptions& options_;
  load::WorkloadOptions workload_;
  std::vector<double> steps_;  // rates, numbers of clients, or the speed of a trace
  load::ClientOptions client_;
  std::vector<load::Run> runs_;
  std::ofstream dump_, json_, plot_;
};

void add_server_options(CLI::App& app, BenchServeOptions& options) {
  const std::string group = "Server";
  app.add_option("--base-url", options.base_url, "The server, plain HTTP")->capture_default_str()->group(group);
  app.add_option("--endpoint", options.endpoint, "completions or chat")
      ->check(CLI::IsMember({"completions", "chat"}))
      ->capture_default_str()
      ->group(group);
  app.add_option("--model", options.client.model, "Model id (default: the first one the server lists)")->group(group);
  with_environment(app.add_option("--api-key", options.client.api_key, "Sent as a bearer token")->group(group));
  app.add_option("--extra", options.extra, "JSON object whose members are added to every request")->group(group);
  app.add_flag("--new-connections", options.new_connections, "A connection for each request, instead of keep-alive")
      ->group(group);
  app.add_option("--timeout", options.client.timeout_s, "Seconds a request may take")
      ->check(CLI::Range(0.001, 86400.0))
      ->capture_default_str()
      ->group(group);
  app.add_option("--max-in-flight", options.client.max_in_flight, "Unanswered requests; one due beyond them fails")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str()
      ->group(group);
}

void add_arrival_options(CLI::App& app, BenchServeOptions& options) {
  const std::string group = "Arrivals";
  app.add_option("--arrival", options.arrival, "poisson (default), fixed, closed or trace")->group(group);
  app.add_option("--rate,--rates,--request-rate,--qps", options.rates, "Requests/s; several with commas are a sweep")
      ->capture_default_str()
      ->group(group);
  app.add_option("--concurrency,--max-concurrency", options.concurrency,
                 "Closed loop of so many clients; several with commas are a sweep")
      ->group(group);
  CLI::Option* const count = app.add_option("-n,--requests,--num-prompts", options.num_requests, "Requests of each run")
                                 ->check(CLI::Range(1, 1000000))
                                 ->capture_default_str()
                                 ->group(group);
  app.add_option("--duration", options.duration_s, "Seconds of arrivals of each run, instead of --requests")
      ->check(CLI::Range(0.1, 86400.0))
      ->excludes(count)
      ->group(group);
  options.trace.add(app, group);
  app.add_option("--warmup", options.warmup, "Requests sent at once before those that count")
      ->check(CLI::Range(0, 10000))
      ->capture_default_str()
      ->group(group);
}

void add_prompt_options(CLI::App& app, BenchServeOptions& options) {
  const std::string group = "Prompts";
  options.lengths.add(app, group);
  app.add_option("--max-input-len", options.max_input, "Prompts are cut to this")
      ->check(CLI::Range(int64_t{1}, load::Lengths::kMost))
      ->group(group);
  app.add_option("--max-output-len", options.max_output, "Answers are cut to this")
      ->check(CLI::Range(int64_t{1}, load::Lengths::kMost))
      ->group(group);
  app.add_flag("--ids", options.client.token_ids, "Prompts as token ids; otherwise words, about a token each")
      ->group(group);
  app.add_option("--first-id", options.first_id, "Least token id of --ids")->capture_default_str()->group(group);
  app.add_option("--last-id", options.last_id, "Greatest token id of --ids")->capture_default_str()->group(group);
  app.add_flag("--stop-at-eos", options.stop_at_eos, "Let answers end by themselves (no ignore_eos)")->group(group);
  app.add_option("--prefix-seed", options.prefix_seed, "Of the shared prefix")->capture_default_str()->group(group);
}

void add_result_options(CLI::App& app, BenchServeOptions& options) {
  const std::string group = "Results";
  app.add_option("--slo-ttft", options.objective.ttft_ms, "Goodput counts answers whose TTFT is at most this, ms")
      ->group(group);
  app.add_option("--slo-tpot", options.objective.tpot_ms, "The same for TPOT, ms")->group(group);
  app.add_option("--json", options.json_path, "Write the numbers to this file")->group(group);
  app.add_option("--dump", options.dump_path, "Write each request to this file, a JSON object a line")->group(group);
  app.add_option("--plot", options.plot_path, "Draw the results into this SVG file")->group(group);
  app.add_option("--compare", options.compare, "Only compare two files that --json wrote: A.json B.json")
      ->expected(2)
      ->group(group);
}

}  // namespace

void add_bench_serve_command(CLI::App& bench) {
  CLI::App* command =
      bench.add_subcommand("serve", "Measure a running server under load: latency, throughput, goodput");
  const auto options = std::make_shared<BenchServeOptions>();
  add_server_options(*command, *options);
  add_arrival_options(*command, *options);
  add_prompt_options(*command, *options);
  add_result_options(*command, *options);
  command->callback([options] {
    if (options->compare.empty()) {
      BenchServe(*options).run();
    } else {
      fmt::print("{}", load::compare_reports(options->compare[0], options->compare[1]));
    }
  });
}

}  // namespace quire
