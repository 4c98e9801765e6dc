// Each variant is loaded alone beside the original: how long that takes, how fast it runs, and how far the
// distributions that it gives to a text are from the original's (perplexity.cpp has the method). One table in Markdown,
// and a plot of quality against size.
#include "apps/compress_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>

#include "apps/bench_offline_cells.h"
#include "apps/exact_answers.h"
#include "apps/flags/values.h"
#include "apps/loaded_model.h"
#include "apps/options.h"
#include "apps/text_scores.h"
#include "apps/units.h"
#include "base/error.h"
#include "base/json.h"
#include "kernels/roofs.h"
#include "measure/svg_plot.h"

namespace quire {
namespace {

constexpr int kSpeedRepetitions = 3;
constexpr int64_t kPrefillTokens = 512;
constexpr int64_t kDecodeTokens = 64;

struct ReportOptions {
  ModelOptions model;
  std::vector<std::string> variants;
  std::string original;
  ScoredTextOptions text;
  std::string questions;
  std::string plot;
  bool json = false;
};

struct ReportRow {
  std::string name;
  uint64_t bytes = 0;
  double bits_per_weight = 0;  // of all weights
  double load_seconds = 0;
  double prefill = 0;  // tokens/s
  double decode = 0;
  double perplexity = 0;
  std::optional<Distance> distance = {};  // none: the original
  std::optional<double> exact_answers = {};
};

// "SmolLM2-135M-Instruct.Q4_1", "out-gptq".
std::string name_of(const std::string& model) {
  std::filesystem::path path = model;
  if (!path.has_filename()) path = path.parent_path();
  return path.extension() == ".gguf" ? path.stem().string() : path.filename().string();
}

RunnerOptions runner_options(const ReportOptions& options, const Checkpoint& checkpoint) {
  RunnerOptions runner = scoring_options(options.model.runner_options(&checkpoint), options.text.window);
  runner.num_blocks = blocks_of(options.text.window);
  return runner;
}

// The best of a few runs: what the machine does beside it can only slow it down.
double tokens_per_second(Sequences& sequences, const Cell& cell) {
  sequences.seconds({cell.is_prefill, std::min<int64_t>(cell.count, 8), 0, 1});  // touches all that a step uses
  double best = 0;
  for (int i = 0; i < kSpeedRepetitions; ++i) {
    best = std::max(best, static_cast<double>(cell.count) / sequences.seconds(cell));
  }
  return best;
}

class Report {
 public:
  explicit Report(const ReportOptions& options) : options_(options) {
    original_checkpoint_ = open_checkpoint(options.original);
    const ModelInfo info = ModelRunner::info(*original_checkpoint_);
    require_logits(info);
    text_ = load_scored_text(options.text, *original_checkpoint_, info);
    if (!options.questions.empty()) {
      const auto processor = TextProcessor::load(*original_checkpoint_);
      questions_ = load_questions(options.questions, *processor,
                                  runner_options(options, *original_checkpoint_).max_batch_tokens);
      end_ids_ = processor->eog_ids();
    }
    rows_.push_back(measure(options.original, *original_checkpoint_));
    original_ = runner_;
  }

  void add(const std::string& variant) {
    const auto checkpoint = open_checkpoint(variant);
    const ModelInfo info = ModelRunner::info(*checkpoint);
    if (info.vocab_size != original_->info().vocab_size) {
      fail(ErrorCode::kInvalidArgument, "{} has {} tokens and the original has {}; expected the same vocabulary",
           printable(variant, 400), info.vocab_size, original_->info().vocab_size);
    }
    ReportRow row = measure(variant, *checkpoint);
    Scorer original(original_), scorer(runner_);
    row.distance = compare_models(original, scorer, text_);
    row.perplexity = scorer.score().perplexity();
    rows_[0].perplexity = original.score().perplexity();
    rows_.push_back(std::move(row));
    runner_.reset();
  }

  const std::vector<ReportRow>& rows() const { return rows_; }

 private:
  // Loads the model into runner_. All but the text.
  ReportRow measure(const std::string& model, const Checkpoint& checkpoint) {
    ReportRow row = {.name = name_of(model), .bytes = checkpoint.file_bytes()};
    const double start = now_s();
    runner_ = load_runner(checkpoint, runner_options(options_, checkpoint));
    row.load_seconds = now_s() - start;
    row.bits_per_weight = 8.0 * static_cast<double>(row.bytes) / static_cast<double>(runner_->info().num_parameters);
    Sequences sequences(*runner_, 0);
    const int64_t window = options_.text.window;
    row.prefill = tokens_per_second(sequences, {true, std::min(kPrefillTokens, window), 0, 1});
    row.decode = tokens_per_second(sequences, {false, std::min(kDecodeTokens, window), 0, 1});
    if (!questions_.empty()) row.exact_answers = share_of_exact_answers(*runner_, questions_, end_ids_);
    return row;
  }

  const ReportOptions& options_;
  ScoredText text_;
  std::vector<ExactQuestion> questions_;
  std::vector<int32_t> end_ids_;
  std::unique_ptr<Checkpoint> original_checkpoint_;  // the runner reads weights in its mapped file
  std::shared_ptr<ModelRunner> original_;
  std::shared_ptr<ModelRunner> runner_;
  std::vector<ReportRow> rows_;
};

std::string markdown_of(const std::vector<ReportRow>& rows) {
  const bool has_questions = rows[0].exact_answers.has_value();
  std::string text = "| | size | bits | load | prefill | decode | perplexity | KL mean | 99 % | max | same choice |";
  text += has_questions ? " exact answers |\n" : "\n";
  text += has_questions ? "|---|---|---|---|---|---|---|---|---|---|---|---|\n"
                        : "|---|---|---|---|---|---|---|---|---|---|---|\n";
  for (const ReportRow& row : rows) {
    text += fmt::format("| {} | {} | {:.2f} | {:.2f} s | {:.0f} | {:.1f} | {:.2f} |", row.name, format_bytes(row.bytes),
                        row.bits_per_weight, row.load_seconds, row.prefill, row.decode, row.perplexity);
    if (row.distance) {
      text += fmt::format(" {:.4f} | {:.3f} | {:.2f} | {:.1f} % |", row.distance->mean(), row.distance->quantile(0.99),
                          row.distance->largest(), 100 * row.distance->share_alike());
    } else {
      text += " | | | |";
    }
    text += row.exact_answers ? fmt::format(" {:.1f} % |\n", 100 * *row.exact_answers) : "\n";
  }
  return text;
}

json::array json_of(const std::vector<ReportRow>& rows) {
  json::array all;
  for (const ReportRow& row : rows) {
    json::object object{{"model", row.name},
                        {"bytes", row.bytes},
                        {"bits_per_weight", row.bits_per_weight},
                        {"load_seconds", row.load_seconds},
                        {"prefill_tokens_per_second", row.prefill},
                        {"decode_tokens_per_second", row.decode},
                        {"perplexity", row.perplexity}};
    if (row.distance) {
      object["divergence_mean"] = row.distance->mean();
      object["divergence_99"] = row.distance->quantile(0.99);
      object["divergence_max"] = row.distance->largest();
      object["same_choice"] = row.distance->share_alike();
    }
    if (row.exact_answers) object["exact_answers"] = *row.exact_answers;
    all.push_back(std::move(object));
  }
  return all;
}

void write_plot(const std::string& path, const std::vector<ReportRow>& rows) {
  load::Series points = {.name = "variants", .has_markers = true, .has_line = false};
  for (const ReportRow& row : rows) {
    if (!row.distance) continue;
    points.x.push_back(static_cast<double>(row.bytes) / (1 << 20));
    points.y.push_back(row.distance->mean());
    points.labels.push_back(row.name);
  }
  const load::Panel panel = {.title = "further down is better, further left is smaller",
                             .x_label = "size of the files, MiB",
                             .y_label = "KL from the original, nats a token",
                             .has_log_y = true,
                             .series = {points}};
  std::ofstream file(path);
  if (!(file << load::draw_svg("Quality against size: " + rows[0].name, {panel})).flush()) {
    fail(ErrorCode::kIo, "'{}' cannot be written", printable(path));
  }
}

void report(const ReportOptions& options) {
  Report made(options);
  for (const std::string& variant : options.variants) made.add(variant);
  if (options.json) {
    fmt::print("{}\n", json::serialize(json_of(made.rows())));
  } else {
    fmt::print("{}", markdown_of(made.rows()));
  }
  if (!options.plot.empty()) write_plot(options.plot, made.rows());
}

}  // namespace

void add_compress_report(Command& compress) {
  Command& command =
      compress.add_command("report", "Measure compressed models against their original: a table and a plot");
  const auto options = std::make_shared<ReportOptions>();
  command.add(
      {{.names = "MODEL",
        .value = texts_in_a_row(options->variants, "MODEL"),
        .help = "Directories and .gguf files that were made of the original",
        .is_required = true},
       {.names = "--against", .value = text(options->original, "MODEL"), .help = "The original", .is_required = true},
       {.names = "-f,--file",
        .value = text(options->text.file, "FILE"),
        .help = "The text that quality is measured on",
        .is_required = true},
       {.names = "-c,--ctx-size",
        .value = number(options->text.window, 64, 1 << 20),
        .help = "Tokens of a window; only its second half is scored"},
       {.names = "--chunks",
        .value = number(options->text.max_windows, 1, int64_t{1} << 40),
        .help = "Most windows to score",
        .default_text = "the whole text"},
       {.names = "--questions",
        .value = text(options->questions, "FILE"),
        .help = "Lines of JSON with \"messages\" and \"answer\": the share that is answered exactly"},
       {.names = "--plot", .value = text(options->plot, "FILE.svg"), .help = "Where to draw quality against size"},
       {.names = "--json", .value = on_off(options->json), .help = "Print one JSON array"}});
  options->model.add_compute(command);
  command.on_run([options] { report(*options); });
}

}  // namespace quire
