// `quire bench offline`: prefill and decode of a model without sampling or text, as the model runner alone gives them,
// for every combination of prompt or answer length, depth and number of sequences.

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "apps/bench.h"
#include "apps/bench_offline_cells.h"
#include "apps/bench_rows.h"
#include "apps/flags/values.h"
#include "apps/loaded_model.h"
#include "apps/options.h"
#include "apps/units.h"
#include "base/error.h"

namespace quire {
namespace {

struct OfflineOptions {
  ModelOptions model;
  std::vector<int64_t> prompts = {512};
  std::vector<int64_t> answers = {128};
  std::vector<int64_t> depths = {0};
  std::vector<int64_t> sequences = {1};
  int64_t shared_prefix = 0;
  bool no_share_prefixes = false;
  int repetitions = 5;
  bool with_roof = false;
  bool json = false;
};

struct CellResult {
  Cell cell;
  std::vector<double> tokens_per_second;  // one per repetition
  std::vector<double> roof_shares;        // empty when not asked for
};

std::vector<Cell> cells_of(const OfflineOptions& options) {
  std::vector<int64_t> depths = options.depths;
  std::sort(depths.begin(), depths.end());  // each depth continues from the one before
  std::vector<Cell> cells;
  for (const int64_t depth : depths) {
    if (options.shared_prefix > depth || options.shared_prefix % kKvBlockSize != 0) {
      fail(ErrorCode::kInvalidArgument,
           "--shared-prefix is {}; write a multiple of {} (sequences share whole KV blocks) of at most --depth, {}",
           options.shared_prefix, kKvBlockSize, depth);
    }
    for (const int64_t sequences : options.sequences) {
      for (const int64_t count : options.prompts) {
        if (count > 0) cells.push_back({true, count, depth, sequences});
      }
      for (const int64_t count : options.answers) {
        if (count > 0) cells.push_back({false, count, depth, sequences});
      }
    }
  }
  if (cells.empty()) {
    fail(ErrorCode::kInvalidArgument, "there is nothing to measure; give --prompt or --gen above 0");
  }
  return cells;
}

RunnerOptions runner_options_for(const OfflineOptions& options, const Checkpoint& checkpoint,
                                 const std::vector<Cell>& cells) {
  int64_t positions = 0, sequences = 0;
  for (const Cell& cell : cells) {
    positions = std::max(positions, cell.depth + cell.count);
    sequences = std::max(sequences, cell.sequences);
  }
  ModelOptions model = options.model;
  model.max_sequences = std::max(model.max_sequences, sequences);
  RunnerOptions runner = model.runner_options(&checkpoint);
  runner.share_prefixes = !options.no_share_prefixes;
  if (runner.max_context == 0) runner.max_context = positions;
  if (positions > runner.max_context) {
    fail(ErrorCode::kInvalidArgument,
         "the tests need {} positions and the context has {}; raise --ctx-size or lower --depth", positions,
         runner.max_context);
  }
  const int64_t shared = options.shared_prefix / kKvBlockSize;
  runner.keep_all_positions = true;
  runner.num_blocks = shared + runner.max_sequences * (blocks_of(positions) - shared);
  return runner;
}

json::object row_of(const CellResult& result, const OfflineOptions& options, const std::string& model,
                    const ModelRunner& runner) {
  const Cell& cell = result.cell;
  const double median = median_of(result.tokens_per_second);
  json::object row = bench_row("offline", cell.text(options.shared_prefix), median, "tokens/s");
  row["model"] = model;
  row["isa"] = runner.isa();
  row["threads"] = runner.options().num_threads;
  row["phase"] = cell.is_prefill ? "prefill" : "decode";
  row["tokens"] = cell.count;
  row["depth"] = cell.depth;
  row["sequences"] = cell.sequences;
  row["shared_prefix"] = options.shared_prefix;
  row["kv_types"] = fmt::format("{} / {}", weight_format(runner.options().k_format).name,
                                weight_format(runner.options().v_format).name);
  row["weight_bytes"] = runner.plan().weight_bytes;
  row["median_tokens_per_second"] = median;
  row["tokens_per_second"] = json::value_from(result.tokens_per_second);
  if (!result.roof_shares.empty()) row["roof_share"] = median_of(result.roof_shares);
  return row;
}

void print_line(const CellResult& result, int64_t shared_prefix) {
  const Cell& cell = result.cell;
  const double median = median_of(result.tokens_per_second);
  const auto [low, high] = std::minmax_element(result.tokens_per_second.begin(), result.tokens_per_second.end());
  const double step_ms = 1000.0 * static_cast<double>(cell.sequences) / median;
  fmt::print("{:<34}{:>10.2f} tokens/s  ({:.2f} to {:.2f})", cell.text(shared_prefix), median, *low, *high);
  if (!cell.is_prefill) fmt::print("  {:.2f} ms a step", step_ms);
  if (!result.roof_shares.empty()) fmt::print("  {:.0f} % of the roof", 100 * median_of(result.roof_shares));
  fmt::print("\n");
  std::fflush(stdout);
}

void bench_offline(const OfflineOptions& options) {
  const std::vector<Cell> cells = cells_of(options);
  const auto checkpoint = options.model.open();
  const RunnerOptions runner_options = runner_options_for(options, *checkpoint, cells);
  const auto runner = load_runner(*checkpoint, runner_options);
  const std::string model =
      options.model.shape.empty() ? checkpoint->name() : options.model.shape + " " + options.model.weights;
  Sequences sequences(*runner, options.shared_prefix);
  std::unique_ptr<RoofShare> roof;
  if (options.with_roof && runner->options().device != "cpu") {
    fail(ErrorCode::kUnsupported, "--roof measures the CPU's roofs; this model computes on {}", runner->device());
  }
  if (options.with_roof && runner->info().num_experts == 0) {
    roof = std::make_unique<RoofShare>(*checkpoint, *runner, options.shared_prefix);
  }
  if (!options.json) {
    fmt::print("{}: {} threads, {} kernels, weights {}, median (range) of {}\n", model, runner->options().num_threads,
               runner->isa(), format_bytes(runner->plan().weight_bytes), options.repetitions);
  }
  json::array rows;
  for (const Cell& cell : cells) {
    CellResult result{.cell = cell, .tokens_per_second = {}, .roof_shares = {}};
    sequences.seconds({cell.is_prefill, std::min<int64_t>(cell.count, cell.is_prefill ? 64 : 1), cell.depth,
                       cell.sequences});  // warms up all that a step uses
    for (int i = 0; i < options.repetitions; ++i) {
      const double seconds = sequences.seconds(cell);
      result.tokens_per_second.push_back(static_cast<double>(cell.count * cell.sequences) / seconds);
      if (roof) result.roof_shares.push_back(roof->measure(cell, seconds));
    }
    rows.push_back(row_of(result, options, model, *runner));
    if (!options.json) print_line(result, options.shared_prefix);
  }
  if (options.json) fmt::print("{}\n", json::serialize(rows));
}

}  // namespace

std::function<void()> add_offline_options(Command& command) {
  const auto options = std::make_shared<OfflineOptions>();
  constexpr int64_t kMax = 1 << 24;
  options->model.add_model(command);
  options->model.add_shape(command);
  command.add(
      {{.names = "-p,--prompt,--n-prompt,--prompt-len",
        .value = numbers(options->prompts, 0, kMax),
        .help = "Tokens of the prefill tests, with commas between; 0: none"},
       {.names = "-n,--gen,--n-gen,--gen-len",
        .value = numbers(options->answers, 0, kMax),
        .help = "Tokens per sequence of the decode tests; 0: none"},
       {.names = "-d,--depth,--n-depth",
        .value = numbers(options->depths, 0, kMax),
        .help = "Positions in the KV cache before each test"},
       {.names = "--batch,--npl", .value = numbers(options->sequences, 1, 65536), .help = "Sequences in the batch"},
       {.names = "--shared-prefix",
        .value = number(options->shared_prefix, 0, kMax),
        .help = "Positions of the depth whose KV blocks all sequences share, as with a common system prompt"},
       {.names = "--no-share-prefixes",
        .value = on_off(options->no_share_prefixes),
        .help = "Read the blocks of a shared prefix once for every sequence, to measure what sharing saves"},
       {.names = "-r,--repetitions",
        .value = number(options->repetitions, 1, 1000),
        .help = "Times that each test runs; the median counts"},
       {.names = "--roof",
        .value = on_off(options->with_roof),
        .help = "Measure the machine's peak rates (roofs) in turns with each test and show the share that was reached"},
       {.names = "--json", .value = on_off(options->json), .help = "Print JSON"}});
  options->model.add_limits(command);
  options->model.add_compute(command);
  return [options] { bench_offline(*options); };
}

}  // namespace quire
