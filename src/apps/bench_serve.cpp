// `quire bench serve`: load on an OpenAI-compatible server, and what its users would notice.

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <memory>

#include "apps/bench.h"
#include "apps/bench_serve_options.h"
#include "apps/interrupt.h"
#include "base/error.h"
#include "measure/client.h"
#include "measure/progress_bar.h"
#include "measure/report.h"

namespace quire {
namespace {

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
        workload_(options.workload_options()),
        steps_(options.choose_steps(workload_.arrival)),
        client_(options.client_options()) {
    if (!options.dump_path.empty()) open(dump_, options.dump_path);
    if (!options.json_path.empty()) open(json_, options.json_path);
    if (!options.plot_path.empty()) open(plot_, options.plot_path);
  }

  void run() {
    raise_file_limit();
    catch_interrupts();
    warm_up();
    for (size_t i = 0; i < steps_.size() && !is_interrupted(); ++i) {
      // Another seed for each step: otherwise the server would have the prompts in its cache.
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
    const load::DraftTotals before = load::draft_totals(client_.target, client_.api_key);
    const std::vector<load::RequestRecord> records = send(label, workload_, concurrency);
    const load::DraftTotals after = load::draft_totals(client_.target, client_.api_key);
    load::Run run{.summary = load::summarise(records, options_.objective), .samples = load::collect(records)};
    run.summary.label = label;
    run.summary.concurrency = concurrency;
    run.summary.drafts = {.num_drafts = after.num_drafts - before.num_drafts,
                          .draft_tokens = after.draft_tokens - before.draft_tokens,
                          .accepted_tokens = after.accepted_tokens - before.accepted_tokens};
    if (!is_closed) {
      // A trace has no single rate; its mean stands for it.
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

}  // namespace

void add_bench_serve_command(Command& bench) {
  Command& command = bench.add_command("serve", "Measure a running server under load: latency, throughput, goodput");
  const auto options = std::make_shared<BenchServeOptions>();
  options->add(command);
  command.on_run([options] {
    if (options->compare.empty()) {
      BenchServe(*options).run();
    } else {
      fmt::print("{}", load::compare_reports(options->compare[0], options->compare[1]));
    }
  });
}

}  // namespace quire
