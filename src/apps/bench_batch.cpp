// `quire bench batch`: the throughput of the engine over a file of prompts, without a server.

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <limits>
#include <memory>
#include <numeric>

#include "apps/batch_jobs.h"
#include "apps/bench.h"
#include "apps/flags/values.h"
#include "apps/interrupt.h"
#include "apps/loaded_drafter.h"
#include "apps/loaded_model.h"
#include "apps/options.h"
#include "apps/scheduling_options.h"
#include "apps/speculation_flags.h"
#include "apps/workload_options.h"
#include "base/error.h"
#include "engine/engine.h"
#include "measure/progress_bar.h"
#include "measure/summary.h"
#include "text/detokenizer.h"

namespace quire {
namespace {

struct BenchBatchOptions {
  ModelOptions model;
  SchedulingOptions scheduling;
  SpeculationFlags speculation;
  std::string prompts_path;
  int64_t num_random = 0;
  LengthOptions lengths;
  int64_t max_tokens = 64;
  bool pad_outputs = false;
  std::string output_path;
  std::string json_path;
};

std::vector<load::BatchJob> find_jobs(const BenchBatchOptions& options, const Checkpoint& checkpoint,
                                      const TextProcessor& text) {
  if (options.prompts_path.empty() == (options.num_random == 0)) {
    fail(ErrorCode::kInvalidArgument, "give either --prompts FILE or --random N");
  }
  if (!options.prompts_path.empty()) return load::read_batch(options.prompts_path, text, options.max_tokens);
  load::WorkloadOptions workload;
  workload.arrival = load::Arrival::kClosed;
  workload.num_requests = options.num_random;
  options.lengths.apply_to(workload);
  workload.seed = options.lengths.seed;
  return load::random_batch(workload, ModelRunner::info(checkpoint).vocab_size);
}

// Returns how many tokens of each job count: its own. With --pad-outputs every job of a batch then runs as long as the
// longest one, as in an engine whose batch is one tensor.
std::vector<int64_t> pad_outputs(const BenchBatchOptions& options, std::vector<load::BatchJob>& jobs) {
  std::vector<int64_t> num_counted;
  for (const load::BatchJob& job : jobs) num_counted.push_back(job.request.max_tokens);
  if (!options.pad_outputs) return num_counted;
  if (options.num_random == 0 || options.scheduling.static_batching != "refilled") {
    fail(ErrorCode::kInvalidArgument, "--pad-outputs needs --random N and --static-batching refilled");
  }
  const auto batch_size = static_cast<size_t>(options.model.max_sequences);
  for (size_t first = 0; first < jobs.size(); first += batch_size) {
    const size_t end = std::min(jobs.size(), first + batch_size);
    const int64_t longest = *std::max_element(num_counted.begin() + static_cast<int64_t>(first),
                                              num_counted.begin() + static_cast<int64_t>(end));
    for (size_t i = first; i < end; ++i) jobs[i].request.max_tokens = longest;
  }
  return num_counted;
}

// Saturates: max_tokens of a file may be any number, and a request that is too long is refused later.
int64_t positions_of(const load::BatchJob& job) {
  const auto prompt = static_cast<int64_t>(job.request.prompt.size());
  return prompt + std::min(job.request.max_tokens, std::numeric_limits<int64_t>::max() - prompt);
}

EngineOptions engine_options(const BenchBatchOptions& options, const std::vector<load::BatchJob>& jobs) {
  EngineOptions engine;
  engine.scheduler = options.scheduling.scheduler_options();
  engine.run_ahead = options.scheduling.run_ahead;
  engine.speculation = options.speculation.resolve();
  engine.seed = options.lengths.seed;
  engine.max_queued_requests = static_cast<int64_t>(jobs.size());
  engine.max_queued_tokens = 0;
  for (const load::BatchJob& job : jobs) engine.max_queued_tokens += static_cast<int64_t>(job.request.prompt.size());
  const auto start = std::chrono::steady_clock::now();
  engine.now_ms = [start] {
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  };
  return engine;
}

// Submits all jobs at once and steps the engine until every answer is complete.
class BatchRun {
 public:
  // num_counted: how many tokens of each job count.
  BatchRun(Engine& engine, const TextProcessor& text, const std::vector<load::BatchJob>& jobs,
           std::vector<int64_t> num_counted, std::function<double()> now_ms)
      : engine_(engine),
        text_(text),
        jobs_(jobs),
        num_counted_(std::move(num_counted)),
        now_ms_(std::move(now_ms)),
        records_(jobs.size()) {}

  void run(std::ofstream* output) {
    start_ms_ = now_ms_();
    for (size_t i = 0; i < jobs_.size(); ++i) submit(i);
    load::ProgressBar bar;
    double shown_ms = 0;
    while (!open_.empty()) {
      if (is_interrupted()) cancel();
      engine_.step();
      step_end_ms_ = now_ms_() - start_ms_;
      std::erase_if(open_, [&](Open& open) { return read(open, output); });
      if (step_end_ms_ < shown_ms + 200) continue;
      shown_ms = step_end_ms_;
      const size_t done = jobs_.size() - open_.size();
      bar.show("batch", static_cast<int64_t>(done), static_cast<int64_t>(jobs_.size()),
               fmt::format("{}/{}  {:.1f} generated tokens/s  {:.0f} s", done, jobs_.size(),
                           1000.0 * static_cast<double>(num_tokens_) / shown_ms, shown_ms / 1000.0));
    }
  }

  const std::vector<load::RequestRecord>& records() const { return records_; }
  // From the step that first ran a request to its first token; the wait in the queue is left out.
  const std::vector<double>& prefill_ms() const { return prefill_ms_; }

 private:
  struct Open {
    size_t index;
    std::shared_ptr<OutputStream> stream;
    std::unique_ptr<Detokenizer> detokenizer;
    std::string text = {};
  };

  void submit(size_t index) {
    load::RequestRecord& record = records_[index];
    const GenerateRequest& request = jobs_[index].request;
    record.sent_ms = 0;
    record.status = 200;
    record.planned_input = static_cast<int64_t>(request.prompt.size());
    record.planned_output = num_counted_[index];
    record.prompt_tokens = record.planned_input;
    auto stream = engine_.submit(request).stream;
    if (!stream) fail(ErrorCode::kLimit, "the engine's queue refused request {}", index + 1);
    open_.push_back({index, std::move(stream), std::make_unique<Detokenizer>(text_.tokenizer())});
  }

  void cancel() {
    for (Open& open : open_) open.stream->cancel();
  }

  // Reads the events that are there; true when the answer is complete.
  bool read(Open& open, std::ofstream* output) {
    load::RequestRecord& record = records_[open.index];
    while (const auto event = open.stream->try_next()) {
      if (event->has_token && static_cast<int64_t>(record.token_ms.size()) < num_counted_[open.index]) {
        ++num_tokens_;
        record.token_ms.push_back(step_end_ms_);
        if (output != nullptr && !event->is_stop_token) open.text += open.detokenizer->push(event->token.id);
      }
      if (event->finish == FinishReason::kNone) continue;
      finish(open, *event, output);
    }
    return open.stream->is_drained();
  }

  void finish(Open& open, const OutputEvent& event, std::ofstream* output) {
    load::RequestRecord& record = records_[open.index];
    const bool is_padded = num_counted_[open.index] < jobs_[open.index].request.max_tokens;
    record.end_ms = is_padded && !record.token_ms.empty() ? record.token_ms.back() : step_end_ms_;
    record.completion_tokens = static_cast<int64_t>(record.token_ms.size());
    record.cached_tokens = event.num_cached_tokens;
    if (event.finish != FinishReason::kStop && event.finish != FinishReason::kLength) record.error = name(event.finish);
    if (record.ok()) prefill_ms_.push_back(event.timing.first_token_ms - event.timing.first_scheduled_ms);
    if (output == nullptr) return;
    open.text += open.detokenizer->finish();
    *output << json::serialize(load::batch_result(jobs_[open.index], static_cast<int64_t>(open.index), open.text,
                                                  name(event.finish), record.completion_tokens, record.cached_tokens))
            << '\n';
  }

  Engine& engine_;
  const TextProcessor& text_;
  const std::vector<load::BatchJob>& jobs_;
  const std::vector<int64_t> num_counted_;
  const std::function<double()> now_ms_;
  std::vector<load::RequestRecord> records_;
  std::vector<Open> open_;
  std::vector<double> prefill_ms_;
  double start_ms_ = 0;
  double step_end_ms_ = 0;  // all tokens of a step have this time
  int64_t num_tokens_ = 0;
};

// A step chooses a token for each of its sequences, and as many as their drafts got right.
double tokens_per_step(const EngineStatus& status) {
  const int64_t num_chosen = status.generated_tokens - status.accepted_tokens;
  return num_chosen > 0 ? static_cast<double>(status.generated_tokens) / static_cast<double>(num_chosen) : 0.0;
}

void print_drafts(const EngineStatus& status) {
  if (status.draft_tokens == 0) return;
  fmt::print("drafts {} tokens, accepted {} ({:.0f} %), {:.2f} tokens per step and sequence\n", status.draft_tokens,
             status.accepted_tokens,
             100.0 * static_cast<double>(status.accepted_tokens) / static_cast<double>(status.draft_tokens),
             tokens_per_step(status));
}

void report(const BenchBatchOptions& options, const std::string& model, const Engine& engine, const BatchRun& run) {
  load::LoadSummary summary = load::summarise(run.records(), {});
  summary.label = fmt::format("{}, {} at once", model, options.model.max_sequences);
  const double total = summary.per_second(summary.input_tokens + summary.output_tokens);
  const load::Distribution prefill = load::describe(run.prefill_ms());
  fmt::print(
      "{}  {:.1f} tokens/s in total; from the first step of a request to its first token {:.1f} ms (p99 {:.1f})\n",
      load::describe(summary), total, prefill.p50, prefill.p99);
  const EngineStatus status = engine.status();
  print_drafts(status);
  if (options.json_path.empty()) return;
  json::object out = load::to_json(summary);
  out["kind"] = "quire bench batch";
  out["model"] = model;
  out["max_sequences"] = options.model.max_sequences;
  out["threads"] = engine.runner().options().num_threads;
  out["isa"] = engine.runner().isa();
  out["total_tokens_per_second"] = total;
  out["prefill_ms_p50"] = prefill.p50;
  out["num_steps"] = status.num_steps;
  out["scheduling"] = {{"static_batching", options.scheduling.static_batching},
                       {"pad_outputs", options.pad_outputs},
                       {"prefix_caching", options.scheduling.prefix_caching},
                       {"run_ahead", options.scheduling.run_ahead},
                       {"target", options.scheduling.target}};
  out["computed_tokens"] = status.computed_tokens;
  out["num_preemptions"] = status.num_preemptions;
  out["draft_tokens"] = status.draft_tokens;
  out["accepted_tokens"] = status.accepted_tokens;
  out["tokens_per_step"] = tokens_per_step(status);
  std::ofstream file(options.json_path);
  if (!(file << json::serialize(out) << '\n').flush()) {
    fail(ErrorCode::kIo, "'{}' cannot be written", printable(options.json_path));
  }
}

void bench_batch(const BenchBatchOptions& options) {
  const auto checkpoint = open_checkpoint(options.model.model);
  const auto text = TextProcessor::load(*checkpoint);
  std::vector<load::BatchJob> jobs = find_jobs(options, *checkpoint, *text);
  const std::vector<int64_t> num_counted = pad_outputs(options, jobs);
  RunnerOptions runner_options = options.model.runner_options(checkpoint.get());
  options.scheduling.apply_to(runner_options);
  if (runner_options.max_context == 0) {  // the longest job sizes the KV pool
    for (const load::BatchJob& job : jobs) {
      runner_options.max_context = std::max(runner_options.max_context, positions_of(job));
    }
  }
  std::ofstream output;
  if (!options.output_path.empty()) {
    output.open(options.output_path);
    if (!output) fail(ErrorCode::kIo, "'{}' cannot be written", printable(options.output_path));
  }
  EngineOptions settings = engine_options(options, jobs);
  make_room_for_drafts(runner_options, settings.speculation);
  LoadedModels models = load_with_drafter(settings.speculation, *checkpoint, runner_options);
  Engine engine(std::move(models.target), settings, std::move(models.drafter));
  catch_interrupts();
  BatchRun run(engine, *text, jobs, num_counted, settings.now_ms);
  run.run(output.is_open() ? &output : nullptr);
  if (output.is_open() && !output.flush()) {
    fail(ErrorCode::kIo, "'{}' could not be written to its end", printable(options.output_path));
  }
  report(options, checkpoint->name(), engine, run);
}

}  // namespace

void add_bench_batch_command(Command& bench) {
  Command& command = bench.add_command("batch", "Measure offline throughput of a file of prompts");
  const auto options = std::make_shared<BenchBatchOptions>();
  options->model.max_sequences = 32;
  options->model.add_model(command);
  command.add(
      {{.names = "--prompts",
        .value = text(options->prompts_path, "FILE"),
        .help = "JSON lines: {\"prompt\": ..., \"max_tokens\": ...} or OpenAI batch lines"},
       {.names = "--random",
        .value = number(options->num_random, 1, 1000000),
        .help = "Make this many random prompts instead of reading --prompts",
        .default_text = "none"},
       {.names = "-n,--max-tokens",
        .value = number(options->max_tokens, 1, load::Lengths::kMax),
        .help = "Tokens to generate when a line has no max_tokens"},
       {.names = "-o,--output",
        .value = text(options->output_path, "FILE"),
        .help = "Write one JSON object per answer to this file"},
       {.names = "--json", .value = text(options->json_path, "FILE"), .help = "Write all results to this file"},
       {.names = "--pad-outputs",
        .value = on_off(options->pad_outputs),
        .help =
            "With --static-batching: every request of a batch runs as long as the longest one; the tokens beyond its "
            "own length do not count"}});
  options->lengths.add(command, "Drawn prompts");
  options->model.add_limits(command);
  options->model.add_compute(command);
  options->speculation.add(command);
  options->scheduling.add(command);
  options->scheduling.add_run_ahead(command);
  command.on_run([options] { bench_batch(*options); });
}

}  // namespace quire
