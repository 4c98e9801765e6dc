// `quire bench` and its sub-commands. `offline`, the one meant when none is named, measures prefill and decode of a
// model without sampling or text, as the model runner alone gives them.

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <memory>
#include <numeric>
#include <vector>

#include "apps/bench.h"
#include "apps/command.h"
#include "apps/loaded_model.h"
#include "apps/options.h"
#include "apps/units.h"
#include "base/error.h"

namespace quire {
namespace {

struct BenchOptions {
  ModelOptions model;
  int64_t prompt_tokens = 512;
  int64_t generated_tokens = 128;
  int64_t depth = 0;
  int repetitions = 5;
  bool json = false;
};

struct Measurement {
  std::string test;
  std::vector<double> tokens_per_second;  // one per repetition
  double median() const {
    std::vector<double> sorted = tokens_per_second;
    std::sort(sorted.begin(), sorted.end());
    return sorted[sorted.size() / 2];
  }
};

class Bench {
 public:
  Bench(ModelRunner& runner, int64_t num_positions) : runner_(runner) {
    table_.resize(static_cast<size_t>((num_positions + kKvBlockSize - 1) / kKvBlockSize));
    std::iota(table_.begin(), table_.end(), 0);
  }

  // Runs positions [first, last) in steps of `chunk`; only the last row of each step asks for logits, as in serving.
  double seconds(int64_t first, int64_t last, int64_t chunk) {
    const auto start = std::chrono::steady_clock::now();
    for (int64_t at = first; at < last; at += chunk) step(at, std::min(chunk, last - at));
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }

 private:
  void step(int64_t first, int64_t count) {
    batch_.clear();
    for (int64_t i = 0; i < count; ++i) {
      // Any ids do; these are spread over the vocabulary.
      batch_.token_ids.push_back(static_cast<int32_t>(((first + i) * 7919 + 1) % runner_.info().vocab_size));
    }
    batch_.sequences.push_back({.num_tokens = count, .first_position = first, .block_table = table_});
    batch_.logit_rows.push_back(static_cast<int32_t>(count) - 1);
    runner_.run(batch_);
  }

  ModelRunner& runner_;
  std::vector<int32_t> table_;
  Batch batch_;
};

std::vector<Measurement> measure(ModelRunner& runner, const BenchOptions& options) {
  const int64_t depth = options.depth;
  const int64_t chunk = runner.options().max_batch_tokens;
  Bench bench(runner, depth + std::max(options.prompt_tokens, options.generated_tokens));
  if (depth > 0) bench.seconds(0, depth, chunk);
  bench.seconds(depth, depth + 1, 1);  // first touch of everything a step needs
  std::vector<Measurement> results;
  const auto add = [&](const char* name, int64_t count, int64_t step) {
    if (count == 0) return;
    Measurement result;
    result.test = fmt::format("{} {}{}", name, count, depth > 0 ? fmt::format(" @ {}", depth) : "");
    for (int i = 0; i < options.repetitions; ++i) {
      result.tokens_per_second.push_back(static_cast<double>(count) / bench.seconds(depth, depth + count, step));
    }
    results.push_back(std::move(result));
  };
  add("prefill", options.prompt_tokens, chunk);
  add("decode", options.generated_tokens, 1);
  return results;
}

void bench(const BenchOptions& options) {
  const auto checkpoint = open_checkpoint(options.model.model);
  RunnerOptions runner_options = options.model.runner_options();
  const int64_t positions = options.depth + std::max(options.prompt_tokens, options.generated_tokens);
  if (runner_options.max_context == 0) runner_options.max_context = positions;
  if (positions < 1 || positions > runner_options.max_context) {
    fail(ErrorCode::kInvalidArgument, "{} positions are asked for, the context has {}", positions,
         runner_options.max_context);
  }
  const auto runner = load_runner(*checkpoint, runner_options);
  const std::vector<Measurement> results = measure(*runner, options);
  if (options.json) {
    json::array out;
    for (const Measurement& result : results) {
      out.push_back({{"model", checkpoint->name()},
                     {"test", result.test},
                     {"isa", runner->isa()},
                     {"threads", runner->options().num_threads},
                     {"weight_bytes", runner->plan().weight_bytes},
                     {"median_tokens_per_second", result.median()},
                     {"tokens_per_second", json::value_from(result.tokens_per_second)}});
    }
    fmt::print("{}\n", json::serialize(out));
    return;
  }
  fmt::print("{}: {} threads, {} kernels, weights {}\n", checkpoint->name(), runner->options().num_threads,
             runner->isa(), format_bytes(runner->plan().weight_bytes));
  for (const Measurement& result : results) {
    const auto [low, high] = std::minmax_element(result.tokens_per_second.begin(), result.tokens_per_second.end());
    fmt::print("{:<20} {:>9.2f} tokens/s  (median of {}, {:.2f} to {:.2f})\n", result.test, result.median(),
               options.repetitions, *low, *high);
  }
}

// All flags of the offline benchmark, and the function that runs it.
std::function<void()> add_offline_options(CLI::App& app) {
  const auto options = std::make_shared<BenchOptions>();
  options->model.add_model(app);
  app.get_option("MODEL")->required(false);  // `bench serve` needs none, and its parent would ask for it
  app.add_option("--n-prompt,--prompt-len", options->prompt_tokens, "Tokens of the prefill test; 0 skips it")
      ->check(CLI::Range(0, 1 << 24))
      ->capture_default_str();
  app.add_option("--n-gen,--gen-len", options->generated_tokens, "Tokens of the decode test; 0 skips it")
      ->check(CLI::Range(0, 1 << 24))
      ->capture_default_str();
  app.add_option("--depth", options->depth, "Positions in the KV cache before each test")
      ->check(CLI::Range(0, 1 << 24));
  app.add_option("-r,--repetitions", options->repetitions, "Times each test runs; the median counts")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_flag("--json", options->json, "Print JSON");
  options->model.add_limits(app);
  options->model.add_compute(app);
  return [options] {
    if (options->model.model.empty()) throw CLI::RequiredError("MODEL");
    bench(*options);
  };
}

}  // namespace

void add_bench_command(CLI::App& program) {
  CLI::App* command = program.add_subcommand("bench", "Measure a model (bench MODEL) or a server (bench serve)");
  const std::function<void()> run_offline = add_offline_options(*command);
  command->callback([command, run_offline] {
    if (command->get_subcommands().empty()) run_offline();
  });
  command->require_subcommand(0, 1);
  CLI::App* offline = command->add_subcommand("offline", "Measure prefill and decode speed of a model");
  offline->callback(add_offline_options(*offline));
  add_bench_serve_command(*command);
  add_bench_batch_command(*command);
}

}  // namespace quire
