// `quire perplexity`: how well a model predicts a text, and what a format of weights or of KV costs in quality.
//
// The method is that of llama.cpp's tool of the same name: the text is cut into windows of --ctx-size tokens, each
// begins with the model's begin-of-sequence token in the place of its first one (if the model puts one before texts),
// and the tokens of the second half are scored. The figures of both tools are comparable.

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>
#include <memory>
#include <numeric>

#include "apps/commands.h"
#include "apps/flags/values.h"
#include "apps/loaded_model.h"
#include "apps/options.h"
#include "apps/standard_input.h"
#include "base/error.h"
#include "base/json.h"
#include "measure/progress_bar.h"

namespace quire {
namespace {

struct PerplexityOptions {
  ModelOptions model;
  std::string file;
  int64_t window = 512;
  int64_t max_windows = 0;
  bool json = false;
};

std::string read_text(const std::string& path) {
  if (path == "-") return standard_input();
  std::ifstream file(path, std::ios::binary);
  if (!file) fail(ErrorCode::kIo, "cannot read {}", printable(path));
  return {std::istreambuf_iterator<char>(file), {}};
}

// The negative logarithm of the probability that a row of logits gives to the token.
double surprise(std::span<const float> logits, int32_t id) {
  const double largest = *std::ranges::max_element(logits);
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - largest);
  return std::log(sum) - (logits[static_cast<size_t>(id)] - largest);
}

// Sums over scored tokens.
struct Score {
  double sum = 0;
  double squares = 0;
  int64_t count = 0;

  double mean() const { return sum / static_cast<double>(count); }
  double perplexity() const { return std::exp(mean()); }
  // Standard error of the perplexity, from that of the mean.
  double error() const {
    const double variance = squares / static_cast<double>(count) - mean() * mean();
    return count < 2 ? 0.0 : perplexity() * std::sqrt(std::max(0.0, variance) / static_cast<double>(count - 1));
  }
};

class Scorer {
 public:
  Scorer(ModelRunner& runner, int64_t window) : runner_(runner), window_(window) {
    blocks_.resize(static_cast<size_t>((window + kKvBlockSize - 1) / kKvBlockSize));
    std::iota(blocks_.begin(), blocks_.end(), 0);
  }

  // Scores the second half of ids [window].
  void add(std::span<const int32_t> ids, Score& score) {
    const int64_t scored = window_ / 2;
    const int64_t step = runner_.options().max_batch_tokens;
    for (int64_t first = 0; first < window_ - 1; first += step) {
      const int64_t count = std::min(step, window_ - 1 - first);
      batch_.clear();
      const auto part = ids.subspan(static_cast<size_t>(first), static_cast<size_t>(count));
      batch_.token_ids.assign(part.begin(), part.end());
      batch_.sequences.push_back({.num_tokens = count,
                                  .first_position = first,
                                  .block_tables = {&blocks_, 1},
                                  .is_long = runner_.info().is_long(window_)});
      for (int64_t row = std::max<int64_t>(0, scored - first); row < count; ++row) {
        batch_.logit_rows.push_back(static_cast<int32_t>(row));
      }
      take(runner_.run(batch_), ids.subspan(static_cast<size_t>(first + 1)), score);
    }
  }

 private:
  // Row i of the logits belongs to batch_.logit_rows[i]; next[r] is the token after row r.
  void take(std::span<const float> logits, std::span<const int32_t> next, Score& score) {
    const auto vocab_size = static_cast<size_t>(runner_.info().vocab_size);
    surprises_.resize(batch_.logit_rows.size());
    runner_.parallel_for(static_cast<int64_t>(surprises_.size()), [&](int64_t i, int) {
      const auto row = static_cast<size_t>(i);
      surprises_[row] =
          surprise(logits.subspan(row * vocab_size, vocab_size), next[static_cast<size_t>(batch_.logit_rows[row])]);
    });
    for (const double value : surprises_) {
      score.sum += value;
      score.squares += value * value;
    }
    score.count += static_cast<int64_t>(surprises_.size());
  }

  ModelRunner& runner_;
  int64_t window_;
  std::vector<int32_t> blocks_;
  Batch batch_;
  std::vector<double> surprises_;
};

void perplexity(PerplexityOptions& options) {
  const auto checkpoint = open_checkpoint(options.model.model);
  const ModelInfo info = ModelRunner::info(*checkpoint);
  require_logits(info);
  const auto text = TextProcessor::load(*checkpoint);
  std::vector<int32_t> ids = text->encode_plain(read_text(options.file), /*parse_special=*/false);
  const std::vector<int32_t> nothing = text->encode_plain("");
  if (options.window > info.max_context) {
    fail(ErrorCode::kLimit, "windows of {} tokens are more than the model's {} positions; give a smaller --ctx-size",
         options.window, info.max_context);
  }
  int64_t num_windows = static_cast<int64_t>(ids.size()) / options.window;
  if (num_windows == 0) {
    fail(ErrorCode::kInvalidArgument, "the text has {} tokens, expected at least one window of {}; see --ctx-size",
         ids.size(), options.window);
  }
  if (options.max_windows > 0) num_windows = std::min(num_windows, options.max_windows);

  RunnerOptions runner_options = options.model.runner_options();
  runner_options.max_context = options.window;
  runner_options.keep_all_positions = true;
  runner_options.max_sequences = 1;
  runner_options.max_batch_tokens = std::min(runner_options.max_batch_tokens, options.window);
  runner_options.max_logit_rows = runner_options.max_batch_tokens;
  const auto runner = load_runner(*checkpoint, runner_options);

  Scorer scorer(*runner, options.window);
  Score score;
  load::ProgressBar bar;
  for (int64_t i = 0; i < num_windows; ++i) {
    const auto window =
        std::span(ids).subspan(static_cast<size_t>(i * options.window), static_cast<size_t>(options.window));
    if (!nothing.empty()) window[0] = nothing[0];
    scorer.add(window, score);
    bar.show("perplexity", i + 1, num_windows, fmt::format("{:.4f} so far", score.perplexity()));
  }
  bar.clear();
  if (options.json) {
    fmt::print("{}\n", json::serialize(json::object{{"perplexity", score.perplexity()},
                                                    {"standard_error", score.error()},
                                                    {"nats_per_token", score.mean()},
                                                    {"scored_tokens", score.count},
                                                    {"windows", num_windows},
                                                    {"window_tokens", options.window}}));
    return;
  }
  fmt::print("perplexity {:.4f} +/- {:.4f}  ({:.4f} nats a token, {} tokens scored in {} windows of {})\n",
             score.perplexity(), score.error(), score.mean(), score.count, num_windows, options.window);
}

}  // namespace

void add_perplexity_command(Command& program) {
  Command& command = program.add_command("perplexity", "Measure how well a model predicts a text");
  const auto options = std::make_shared<PerplexityOptions>();
  options->model.add_model(command);
  command.add({{.names = "-f,--file",
                .value = text(options->file, "FILE"),
                .help = "The text; - for standard input",
                .is_required = true},
               {.names = "-c,--ctx-size",
                .value = number(options->window, 4, 1 << 20),
                .help = "Tokens of a window; only its second half is scored"},
               {.names = "--chunks",
                .value = number(options->max_windows, 1, int64_t{1} << 40),
                .help = "Most windows to score",
                .default_text = "the whole text"},
               {.names = "--json", .value = on_off(options->json), .help = "Print one JSON object"}});
  options->model.add_kv_types(command);
  options->model.add_compute(command);
  command.on_run([options] { perplexity(*options); });
}

}  // namespace quire
