// `quire bench offline`: prefill and decode of a model without sampling or text, as the model runner alone gives them,
// for every combination of prompt or answer length, depth and number of sequences.

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "apps/bench.h"
#include "apps/bench_rows.h"
#include "apps/loaded_model.h"
#include "apps/options.h"
#include "apps/units.h"
#include "base/error.h"
#include "kernels/roofs.h"
#include "kernels/select.h"
#include "tensor/aligned_buffer.h"

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

struct Cell {
  bool is_prefill;
  int64_t count;  // tokens of each sequence
  int64_t depth;
  int64_t sequences;

  std::string text(int64_t shared_prefix) const {
    std::string out = fmt::format("{} {}", is_prefill ? "prefill" : "decode", count);
    if (depth > 0) out += fmt::format(" @ {}", depth);
    if (sequences > 1) out += fmt::format(" x {}", sequences);
    if (shared_prefix > 0 && sequences > 1) out += fmt::format(", {} shared", shared_prefix);
    return out;
  }
};

int64_t blocks_of(int64_t positions) { return (positions + kKvBlockSize - 1) / kKvBlockSize; }

// The sequences of all cells. Their tokens follow from the position alone, so all hold the same K and V, each in blocks
// of its own behind the shared ones: what was computed for one is copied to the others.
class Sequences {
 public:
  Sequences(ModelRunner& runner, int64_t shared_prefix) : runner_(runner), num_shared_(shared_prefix / kKvBlockSize) {
    const int64_t num_sequences = runner.options().max_sequences;
    const int64_t own = (runner.options().num_blocks - num_shared_) / num_sequences;
    for (int64_t s = 0; s < num_sequences; ++s) {
      BlockTable& table = tables_.emplace_back();
      for (int64_t i = 0; i < num_shared_; ++i) table.push_back(static_cast<int32_t>(i));
      for (int64_t i = 0; i < own; ++i) table.push_back(static_cast<int32_t>(num_shared_ + s * own + i));
    }
    // The system provides memory at its first use, which is not to be measured.
    for (int32_t block = 1; block < runner_.options().num_blocks; ++block) runner_.copy_block(0, block);
  }

  // Fills positions [0, depth) of every sequence.
  void fill(int64_t depth) {
    if (depth <= filled_) return;
    prefill(filled_, depth - filled_, 1);
    for (int64_t i = std::max(num_shared_, filled_ / kKvBlockSize); i < blocks_of(depth); ++i) {
      const auto at = static_cast<size_t>(i);
      for (size_t s = 1; s < tables_.size(); ++s) runner_.copy_block(tables_[0][at], tables_[s][at]);
    }
    filled_ = depth;
  }

  // `count` tokens of each of `num` sequences behind `depth`: one prompt after the other, in steps as full as may be.
  void prefill(int64_t depth, int64_t count, int64_t num) {
    const int64_t most = runner_.options().max_batch_tokens;
    batch_.clear();
    for (int64_t s = 0; s < num; ++s) {
      for (int64_t at = depth; at < depth + count;) {
        const int64_t room = most - static_cast<int64_t>(batch_.token_ids.size());
        const int64_t taken = std::min(room, depth + count - at);
        add(s, at, taken);
        at += taken;
        if (at == depth + count) batch_.logit_rows.push_back(static_cast<int32_t>(batch_.token_ids.size()) - 1);
        if (taken == room) run();
      }
    }
    if (!batch_.token_ids.empty()) run();
  }

  // `count` steps of one token of each of `num` sequences.
  void decode(int64_t depth, int64_t count, int64_t num) {
    batch_.clear();
    for (int64_t at = depth; at < depth + count; ++at) {
      for (int64_t s = 0; s < num; ++s) {
        add(s, at, 1);
        batch_.logit_rows.push_back(static_cast<int32_t>(s));
      }
      run();
    }
  }

  double seconds(const Cell& cell) {
    fill(cell.depth);
    const double start = now_s();
    if (cell.is_prefill) {
      prefill(cell.depth, cell.count, cell.sequences);
    } else {
      decode(cell.depth, cell.count, cell.sequences);
    }
    return now_s() - start;
  }

 private:
  void add(int64_t sequence, int64_t first, int64_t count) {
    for (int64_t i = 0; i < count; ++i) {
      // Any ids do; these are spread over the vocabulary.
      batch_.token_ids.push_back(static_cast<int32_t>(((first + i) * 7919 + 1) % runner_.info().vocab_size));
    }
    const BlockTable& table = tables_[static_cast<size_t>(sequence)];
    batch_.sequences.push_back({.num_tokens = count, .first_position = first, .block_tables = {&table, 1}});
  }

  void run() {
    runner_.run(batch_);
    batch_.clear();
  }

  ModelRunner& runner_;
  int64_t num_shared_;
  std::vector<BlockTable> tables_;
  int64_t filled_ = 0;
  Batch batch_;
};

// The machine's roofs beside a cell, and what share of them it reached: of reading weights, K and V for decode, of
// multiplying in the layers for prefill. Dense models only: in a mixture the weights met depend on the tokens.
class RoofShare {
 public:
  RoofShare(const Checkpoint& checkpoint, const ModelRunner& runner, int64_t shared_prefix)
      : pool_(runner.options().num_threads),
        table_(select_kernels(runner.options().isa)),
        meter_(pool_, table_),
        memory_(size_t{256} << 20),
        runner_(runner),
        shared_prefix_(shared_prefix) {
    std::fill(memory_.as<std::byte>().begin(), memory_.as<std::byte>().end(), std::byte{1});
    const auto matrix = checkpoint.find_tensor("model.layers.0.mlp.down_proj.weight");
    is_integer_ = !matrix || table_.takes_packed(matrix->format);
  }

  double measure(const Cell& cell, double seconds) {
    const ModelInfo& info = runner_.info();
    const auto count = static_cast<double>(cell.count);
    const auto sequences = static_cast<double>(cell.sequences);
    if (cell.is_prefill) {
      const double ends = static_cast<double>(info.vocab_size * info.hidden_size) * (info.tied_embeddings ? 1 : 2);
      const double layers = static_cast<double>(info.num_parameters) - ends;
      const double roof = is_integer_ ? meter_.dot() : meter_.multiply_add();
      return 2 * layers * count * sequences / seconds / roof;
    }
    const double depth = static_cast<double>(cell.depth) + count / 2;
    const auto shared = cell.sequences > 1 ? static_cast<double>(shared_prefix_) : 0.0;
    const double positions = shared + sequences * (depth - shared);
    const double bytes = static_cast<double>(runner_.plan().weight_bytes) +
                         positions * static_cast<double>(runner_.plan().kv_bytes_per_token);
    return count * bytes / seconds / meter_.read(memory_.as<std::byte>());
  }

 private:
  ThreadPool pool_;
  const Kernels& table_;
  RoofMeter meter_;
  AlignedBuffer memory_;
  const ModelRunner& runner_;
  int64_t shared_prefix_;
  bool is_integer_;
};

struct CellResult {
  Cell cell;
  std::vector<double> tokens_per_second;  // one per repetition
  std::vector<double> roof_shares;        // empty when not asked for
};

std::vector<Cell> cells_of(const OfflineOptions& options) {
  std::vector<int64_t> depths = options.depths;
  std::sort(depths.begin(), depths.end());  // what is filled for one is the start of the next
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
    fail(ErrorCode::kInvalidArgument, "there is nothing to measure: give --prompt or --gen above 0");
  }
  return cells;
}

RunnerOptions runner_options_for(const OfflineOptions& options, const std::vector<Cell>& cells) {
  int64_t positions = 0, sequences = 0;
  for (const Cell& cell : cells) {
    positions = std::max(positions, cell.depth + cell.count);
    sequences = std::max(sequences, cell.sequences);
  }
  ModelOptions model = options.model;
  model.max_sequences = std::max(model.max_sequences, sequences);
  RunnerOptions runner = model.runner_options();
  runner.share_prefixes = !options.no_share_prefixes;
  if (runner.max_context == 0) runner.max_context = positions;
  if (positions > runner.max_context) {
    fail(ErrorCode::kInvalidArgument, "{} positions are asked for, the context has {}", positions, runner.max_context);
  }
  const int64_t shared = options.shared_prefix / kKvBlockSize;
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
  const RunnerOptions runner_options = runner_options_for(options, cells);
  const auto checkpoint = options.model.open();
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
                       cell.sequences});  // first touch of everything a step needs
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

std::function<void()> add_offline_options(CLI::App& app) {
  const auto options = std::make_shared<OfflineOptions>();
  options->model.add_model(app);
  options->model.add_shape(app);
  const CLI::Range lengths(0, 1 << 24);
  add_list(app, "-p,--prompt,--n-prompt,--prompt-len", options->prompts,
           "Tokens of the prefill tests, several with commas; 0: none")
      ->check(lengths)
      ->default_str("512");
  add_list(app, "-n,--gen,--n-gen,--gen-len", options->answers, "Steps of the decode tests; 0: none")
      ->check(lengths)
      ->default_str("128");
  add_list(app, "-d,--depth,--n-depth", options->depths, "Positions in the KV cache before each test")->check(lengths);
  add_list(app, "--batch,--npl", options->sequences, "Sequences that run together")
      ->check(CLI::Range(1, 65536))
      ->default_str("1");
  app.add_option("--shared-prefix", options->shared_prefix,
                 "Positions of the depth whose KV blocks all sequences share, as with a common system prompt")
      ->check(lengths);
  app.add_flag("--no-share-prefixes", options->no_share_prefixes,
               "Read the blocks of a shared prefix again for every sequence, to measure what sharing brings");
  app.add_option("-r,--repetitions", options->repetitions, "Times each test runs; the median counts")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_flag("--roof", options->with_roof, "Measure the machine's roofs in turn with each test and show the share");
  app.add_flag("--json", options->json, "Print JSON");
  options->model.add_limits(app);
  options->model.add_compute(app);
  return [options] { bench_offline(*options); };
}

}  // namespace quire
