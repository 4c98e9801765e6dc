// `quire bench speculation`: what drafts bring. Two engines of one process, plain and speculative, answer the same
// requests in turns, so that a machine that slows down for a while slows both; their answers must be equal.

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <memory>

#include "apps/batch_jobs.h"
#include "apps/bench.h"
#include "apps/bench_rows.h"
#include "apps/flags/values.h"
#include "apps/known_answers.h"
#include "apps/loaded_drafter.h"
#include "apps/loaded_model.h"
#include "apps/options.h"
#include "apps/speculation_flags.h"
#include "apps/speculation_rounds.h"
#include "apps/workload_options.h"
#include "base/error.h"

namespace quire {
namespace {

struct BenchSpeculationOptions {
  ModelOptions model;
  SpeculationFlags speculation;
  LengthOptions lengths;
  std::string prompts_path;
  int64_t num_random = 0;
  int64_t max_tokens = 128;
  int64_t num_requests = 0;
  std::vector<int64_t> streams = {1, 2, 4, 8, 16, 32};
  int rounds = 3;
  double acceptance = -1.0;  // negative: the drafter's own
  bool counts_prompts = false;
  std::string json_path;
};

// Of one number of streams.
struct Comparison {
  int64_t streams = 0;
  std::vector<SpeculationRound> plain = {};
  std::vector<SpeculationRound> speculative = {};
  bool is_equal = true;

  static double median_rate(const std::vector<SpeculationRound>& rounds) {
    std::vector<double> rates;
    for (const SpeculationRound& round : rounds) rates.push_back(round.tokens_per_second());
    return median_of(rates);
  }
  double plain_rate() const { return median_rate(plain); }
  double speculative_rate() const { return median_rate(speculative); }
  double ratio() const { return speculative_rate() / plain_rate(); }
  // Of each pair of rounds.
  std::vector<double> ratios() const {
    std::vector<double> all;
    for (size_t i = 0; i < plain.size(); ++i) {
      all.push_back(speculative[i].tokens_per_second() / plain[i].tokens_per_second());
    }
    return all;
  }
  // All speculative rounds as one.
  SpeculationRound total() const {
    SpeculationRound sum;
    for (const SpeculationRound& round : speculative) {
      sum.num_tokens += round.num_tokens;
      sum.num_drafts += round.num_drafts;
      sum.num_accepted += round.num_accepted;
    }
    return sum;
  }
};

std::vector<GenerateRequest> find_requests(const BenchSpeculationOptions& options, const Checkpoint& checkpoint) {
  if (options.prompts_path.empty() == (options.num_random == 0)) {
    fail(ErrorCode::kInvalidArgument, "give either --prompts FILE or --random N");
  }
  std::vector<load::BatchJob> jobs;
  if (!options.prompts_path.empty()) {
    if (!options.model.shape.empty()) {
      fail(ErrorCode::kInvalidArgument, "--shape has no vocabulary to read --prompts with; give --random N");
    }
    jobs = load::read_batch(options.prompts_path, *TextProcessor::load(checkpoint), options.max_tokens);
  } else {
    load::WorkloadOptions workload;
    workload.arrival = load::Arrival::kClosed;
    workload.num_requests = options.num_random;
    options.lengths.apply_to(workload);
    workload.seed = options.lengths.seed;
    jobs = load::random_batch(workload, ModelRunner::info(checkpoint).vocab_size);
  }
  std::vector<GenerateRequest> requests;
  for (load::BatchJob& job : jobs) {
    // Both engines must draw the same numbers.
    if (!job.request.sampling.seed) job.request.sampling.seed = requests.size();
    requests.push_back(std::move(job.request));
  }
  return requests;
}

// The requests of a round: enough for every stream. Copies share no cache, and no draft comes from another's answer.
std::vector<GenerateRequest> repeated(const std::vector<GenerateRequest>& requests, int64_t count) {
  std::vector<GenerateRequest> all;
  for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
    all.push_back(requests[i % requests.size()]);
    all.back().cache_salt = fmt::format(" copy {}", i / requests.size());
  }
  return all;
}

int64_t round_size(const BenchSpeculationOptions& options, const std::vector<GenerateRequest>& requests,
                   int64_t streams) {
  return std::max(options.num_requests > 0 ? options.num_requests : static_cast<int64_t>(requests.size()), streams);
}

// Room for the prompts of a whole round, which stay cached, and for the answers that run at once.
RunnerOptions runner_options(const BenchSpeculationOptions& options, const Checkpoint& checkpoint,
                             const std::vector<GenerateRequest>& requests, int64_t most_streams) {
  const int64_t context = ModelRunner::info(checkpoint).max_context;
  ModelOptions model = options.model;
  model.max_sequences = std::max(model.max_sequences, most_streams);
  RunnerOptions runner = model.runner_options(&checkpoint);
  int64_t longest = 0;
  int64_t longest_prompt = 0;
  for (const GenerateRequest& request : requests) {
    const auto prompt = static_cast<int64_t>(request.prompt.size());
    longest_prompt = std::max(longest_prompt, prompt);
    longest = std::max(longest, prompt + std::min(request.max_tokens, context));
  }
  if (runner.max_context == 0) runner.max_context = std::min(longest, context);
  const int64_t of_answers = most_streams * (blocks_for(longest) - longest_prompt / kKvBlockSize + 1);
  runner.num_blocks = round_size(options, requests, most_streams) * blocks_for(longest_prompt) + of_answers;
  return runner;
}

void print_head(const BenchSpeculationOptions& options, const std::string& method, const std::string& model,
                const ModelRunner& runner) {
  fmt::print(
      "{}: {} threads, {} kernels, {}, medians of {} rounds in turns\n", model, runner.options().num_threads,
      runner.isa(),
      options.acceptance < 0 ? method : fmt::format("drafts that are right with probability {}", options.acceptance),
      options.rounds);
  fmt::print("{:>7}{:>16}{:>22}{:>8}{:>18}{:>13}{:>10}{:>18}{:>15}\n", "streams", "plain tokens/s",
             "speculative tokens/s", "ratio", "(range)", "tokens/step", "drafted", "accepted", "answers equal");
}

void print_row(const Comparison& row) {
  const SpeculationRound total = row.total();
  const std::vector<double> ratios = row.ratios();
  const auto [low, high] = std::minmax_element(ratios.begin(), ratios.end());
  const double share = total.num_drafts > 0
                           ? 100.0 * static_cast<double>(total.num_accepted) / static_cast<double>(total.num_drafts)
                           : 0.0;
  fmt::print("{:>7}{:>16.1f}{:>22.1f}{:>7.2f}x{:>18}{:>13.2f}{:>10}{:>18}{:>15}\n", row.streams, row.plain_rate(),
             row.speculative_rate(), row.ratio(), fmt::format("({:.2f} to {:.2f})", *low, *high),
             total.tokens_per_step(), total.num_drafts, fmt::format("{} ({:.0f} %)", total.num_accepted, share),
             row.is_equal ? "yes" : "NO");
  std::fflush(stdout);
}

json::object json_of(const Comparison& row, const std::string& model, const ModelRunner& runner) {
  const SpeculationRound total = row.total();
  json::object out =
      bench_row("speculation", fmt::format("{} streams", row.streams), row.speculative_rate(), "tokens/s");
  out["model"] = model;
  out["isa"] = runner.isa();
  out["threads"] = runner.options().num_threads;
  out["streams"] = row.streams;
  out["plain_tokens_per_second"] = row.plain_rate();
  out["speculative_tokens_per_second"] = row.speculative_rate();
  out["ratio"] = row.ratio();
  out["ratios"] = json::value_from(row.ratios());
  out["tokens_per_step"] = total.tokens_per_step();
  out["draft_tokens"] = total.num_drafts;
  out["accepted_tokens"] = total.num_accepted;
  out["answers_equal"] = row.is_equal;
  return out;
}

class SpeculationBench {
 public:
  SpeculationBench(const BenchSpeculationOptions& options, Engine& plain, Engine& speculative, AnswersByPrompt& answers)
      : options_(options), plain_(plain), speculative_(speculative), answers_(answers) {}

  Comparison compare(const std::vector<GenerateRequest>& requests, int64_t streams) {
    Comparison result{.streams = streams};
    learn_answers(requests, streams);
    // One request for each stream warms up what steps of this size use.
    const std::vector<GenerateRequest> first(requests.begin(), requests.begin() + streams);
    run(speculative_, first, streams);
    for (int i = 0; i < options_.rounds; ++i) {
      result.plain.push_back(run(plain_, requests, streams));
      result.speculative.push_back(run(speculative_, requests, streams));
      result.is_equal = result.is_equal && result.plain.back().answers == result.speculative.back().answers;
    }
    return result;
  }

 private:
  SpeculationRound run(Engine& engine, const std::vector<GenerateRequest>& requests, int64_t streams) {
    return run_round(engine, requests,
                     {.streams = streams,
                      .salt = fmt::format("round {}", num_rounds_++),
                      .counts_prompts = options_.counts_prompts});
  }

  // By plain decoding, which warms it up too.
  void learn_answers(const std::vector<GenerateRequest>& requests, int64_t streams) {
    std::vector<GenerateRequest> unknown;
    for (const GenerateRequest& request : requests) {
      if (answers_.try_emplace(request.prompt).second) unknown.push_back(request);
    }
    if (unknown.empty()) unknown.assign(requests.begin(), requests.begin() + streams);
    const SpeculationRound round = run(plain_, unknown, streams);
    for (size_t i = 0; i < unknown.size(); ++i) answers_[unknown[i].prompt] = round.answers[i];
  }

  const BenchSpeculationOptions& options_;
  Engine& plain_;
  Engine& speculative_;
  AnswersByPrompt& answers_;
  int num_rounds_ = 0;
};

void write_json(const std::string& path, const json::array& rows) {
  if (path.empty()) return;
  std::ofstream file(path);
  if (!(file << json::serialize(rows) << '\n').flush()) {
    fail(ErrorCode::kIo, "'{}' cannot be written", printable(path));
  }
}

EngineOptions engine_options(const BenchSpeculationOptions& options) {
  EngineOptions engine;
  engine.max_queued_requests = int64_t{1} << 30;
  engine.max_queued_tokens = int64_t{1} << 50;
  engine.seed = options.lengths.seed;
  return engine;
}

void bench_speculation(const BenchSpeculationOptions& options) {
  const bool is_traced = options.acceptance >= 0;
  SpeculationOptions speculation = is_traced ? options.speculation.options : options.speculation.resolve();
  if (speculation.method.empty() && speculation.model.empty() && !is_traced) {
    fail(ErrorCode::kInvalidArgument, "nothing drafts; give --speculative-config, or --acceptance P for known answers");
  }
  const auto checkpoint = options.model.open();
  const std::vector<GenerateRequest> requests = find_requests(options, *checkpoint);
  const int64_t most_streams = *std::max_element(options.streams.begin(), options.streams.end());
  RunnerOptions runner = runner_options(options, *checkpoint, requests, most_streams);
  Engine plain(load_runner(*checkpoint, runner), engine_options(options));
  const auto answers = std::make_shared<AnswersByPrompt>();
  LoadedModels models;
  if (is_traced) {
    speculation.method = "known answers";
    make_room_for_drafts(runner, speculation);
    models.target = load_runner(*checkpoint, runner);
    models.drafter = std::make_unique<KnownAnswers>(answers, options.acceptance, plain.runner().info().vocab_size);
  } else {
    make_room_for_drafts(runner, speculation);
    models = load_with_drafter(speculation, *checkpoint, runner);
  }
  EngineOptions with_drafts = engine_options(options);
  with_drafts.speculation = speculation;
  Engine speculative(std::move(models.target), with_drafts, std::move(models.drafter));

  const std::string model =
      options.model.shape.empty() ? checkpoint->name() : options.model.shape + " " + options.model.weights;
  print_head(options, speculation.method, model, plain.runner());
  SpeculationBench bench(options, plain, speculative, *answers);
  json::array rows;
  bool is_equal = true;
  for (const int64_t streams : options.streams) {
    const Comparison row = bench.compare(repeated(requests, round_size(options, requests, streams)), streams);
    print_row(row);
    rows.push_back(json_of(row, model, plain.runner()));
    is_equal = is_equal && row.is_equal;
  }
  write_json(options.json_path, rows);
  if (!is_equal && speculation.acceptance == DraftAcceptance::kExact) {
    fail(ErrorCode::kCorrupt, "answers with drafts differ from plain ones; that is a fault of Quire");
  }
}

}  // namespace

void add_bench_speculation_command(Command& bench) {
  Command& command = bench.add_command("speculation", "Measure what drafts bring: plain and speculative in turns");
  const auto options = std::make_shared<BenchSpeculationOptions>();
  options->model.add_model(command);
  options->model.add_shape(command);
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
       {.names = "--requests",
        .value = number(options->num_requests, 1, 1000000),
        .help = "Requests of a round; prompts are repeated where there are fewer",
        .default_text = "each prompt once, and one for each stream"},
       {.names = "--concurrency",
        .value = numbers(options->streams, 1, 65536),
        .help = "Streams that are answered at once, with commas between"},
       {.names = "--rounds",
        .value = number(options->rounds, 1, 1000),
        .help = "Rounds of each way, in turns; medians count"},
       {.names = "--acceptance",
        .value = real(options->acceptance, 0.0, 1.0),
        .help = "Instead of a drafter: drafts that are right with this probability, from the plain round's answers",
        .default_text = "the drafter's own"},
       {.names = "--count-prompts",
        .value = on_off(options->counts_prompts),
        .help = "Count the time of computing the prompts too; otherwise they are cached before a round"},
       {.names = "--json", .value = text(options->json_path, "FILE"), .help = "Write all results to this file"}});
  options->speculation.add(command);
  options->lengths.add(command, "Drawn prompts");
  options->model.add_limits(command);
  options->model.add_compute(command);
  command.on_run([options] { bench_speculation(*options); });
}

}  // namespace quire
