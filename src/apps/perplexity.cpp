// `quire perplexity`: how well a model predicts a text, and what a format of weights or of KV costs in quality.
//
// The method is that of llama.cpp's tool of the same name: the text is cut into windows of --ctx-size tokens, each
// begins with the model's begin-of-sequence token in the place of its first one (if the model puts one before texts),
// and the tokens of the second half are scored. The figures of both tools are comparable. With --kl-against the rows of
// two models are compared, also as that tool defines it: KL of the model's distribution from the original's.

#include <fmt/format.h>

#include <memory>

#include "apps/commands.h"
#include "apps/flags/values.h"
#include "apps/loaded_model.h"
#include "apps/options.h"
#include "apps/scored_windows.h"
#include "apps/text_scores.h"
#include "base/error.h"
#include "base/json.h"
#include "measure/distributions.h"
#include "measure/progress_bar.h"

namespace quire {
namespace {

struct PerplexityOptions {
  ModelOptions model;
  std::string file;
  int64_t window = 512;
  int64_t max_windows = 0;
  bool compare_activations = false;
  std::string original;  // a model, to be compared with
  bool json = false;
};

RunnerOptions runner_options(const PerplexityOptions& options, const Checkpoint& checkpoint) {
  return scoring_options(options.model.runner_options(&checkpoint), options.window);
}

// Two models with different activations at a time: those of f32 are computed again for each of the others.
void compare_activations(const PerplexityOptions& options, const Checkpoint& checkpoint, const ModelInfo& info,
                         ScoredText& text) {
  RunnerOptions chosen = runner_options(options, checkpoint);
  chosen.activations = Activations::kF32;
  json::array rows;
  if (!options.json)
    fmt::print("{:<13}{:>12}{:>12}{:>14}{:>12}\n", "activations", "KL mean", "KL max", "same choice", "perplexity");
  const auto show = [&](Activations kind, const Score& score, const Distance& distance) {
    const char* const name = activations_name(kind);
    rows.push_back(json::object{{"activations", name},
                                {"divergence_mean", distance.mean()},
                                {"divergence_max", distance.largest()},
                                {"same_choice", distance.share_alike()},
                                {"perplexity", score.perplexity()},
                                {"scored_tokens", score.count}});
    if (options.json) return;
    fmt::print("{:<13}{:>12.6f}{:>12.6f}{:>12.2f} %{:>12.4f}\n", name, distance.mean(), distance.largest(),
               100 * distance.share_alike(), score.perplexity());
  };
  load::ProgressBar bar;
  for (const Activations kind : {Activations::kBf16, Activations::kInt8}) {
    Scorer exact(load_runner(checkpoint, chosen));
    RunnerOptions other_options = chosen;
    other_options.activations = kind;
    Scorer other(load_runner(checkpoint, other_options));
    ScoredWindow window(info, text.window, chosen.max_batch_tokens);
    Distance distance;
    text.for_each_window([&](std::span<const int32_t> ids, int64_t index) {
      window.for_each_batch(ids, [&](const Batch& batch, std::span<const int32_t> next) {
        const std::span<const float> logits = exact.add(batch, next);
        compare_rows(exact.runner(), logits, other.add(batch, next), batch.logit_rows.size(), distance);
      });
      bar.show(activations_name(kind), index + 1, text.num_windows, fmt::format("KL {:.6f} so far", distance.mean()));
    });
    bar.clear();
    if (rows.empty()) {
      Distance none;
      none.add({.divergence = 0, .same_choice = true});
      show(Activations::kF32, exact.score(), none);
    }
    show(kind, other.score(), distance);
  }
  if (options.json) fmt::print("{}\n", json::serialize(rows));
}

// The model beside the one that it was made of, on the same rows.
void compare_with_original(const PerplexityOptions& options, const Checkpoint& checkpoint, const ModelInfo& info,
                           ScoredText& text) {
  const auto original_checkpoint = open_checkpoint(options.original);
  const ModelInfo original_info = ModelRunner::info(*original_checkpoint);
  require_logits(original_info);
  if (original_info.vocab_size != info.vocab_size) {
    fail(ErrorCode::kInvalidArgument, "{} has {} tokens and {} has {}; expected a model with the same vocabulary",
         options.model.model, info.vocab_size, options.original, original_info.vocab_size);
  }
  const RunnerOptions chosen = runner_options(options, checkpoint);
  Scorer original(load_runner(*original_checkpoint, chosen));
  Scorer scorer(load_runner(checkpoint, chosen));
  const Distance distance = compare_models(original, scorer, text);
  if (options.json) {
    fmt::print("{}\n", json::serialize(json::object{{"divergence_mean", distance.mean()},
                                                    {"divergence_error", distance.error()},
                                                    {"divergence_99", distance.quantile(0.99)},
                                                    {"divergence_max", distance.largest()},
                                                    {"same_choice", distance.share_alike()},
                                                    {"perplexity", scorer.score().perplexity()},
                                                    {"original_perplexity", original.score().perplexity()},
                                                    {"scored_tokens", distance.count()},
                                                    {"windows", text.num_windows},
                                                    {"window_tokens", options.window}}));
    return;
  }
  fmt::print("KL {:.6f} +/- {:.6f} (99 % of tokens below {:.6f}, largest {:.6f})\n", distance.mean(), distance.error(),
             distance.quantile(0.99), distance.largest());
  fmt::print(
      "same choice {:.2f} %, perplexity {:.4f}, of the original {:.4f}  ({} tokens scored in {} windows of {})\n",
      100 * distance.share_alike(), scorer.score().perplexity(), original.score().perplexity(), distance.count(),
      text.num_windows, options.window);
}

void perplexity(const PerplexityOptions& options) {
  const auto checkpoint = open_checkpoint(options.model.model);
  const ModelInfo info = ModelRunner::info(*checkpoint);
  require_logits(info);
  ScoredText text = load_scored_text(
      {.file = options.file, .window = options.window, .max_windows = options.max_windows}, *checkpoint, info);
  if (!options.original.empty() && options.compare_activations) {
    fail(ErrorCode::kInvalidArgument, "give --kl-against or --compare-activations, not both");
  }
  if (!options.original.empty()) return compare_with_original(options, *checkpoint, info, text);
  if (options.compare_activations) return compare_activations(options, *checkpoint, info, text);

  const RunnerOptions chosen = runner_options(options, *checkpoint);
  Scorer scorer(load_runner(*checkpoint, chosen));
  ScoredWindow window(info, text.window, chosen.max_batch_tokens);
  load::ProgressBar bar;
  text.for_each_window([&](std::span<const int32_t> ids, int64_t index) {
    window.for_each_batch(ids, [&](const Batch& batch, std::span<const int32_t> next) { scorer.add(batch, next); });
    bar.show("perplexity", index + 1, text.num_windows, fmt::format("{:.4f} so far", scorer.score().perplexity()));
  });
  bar.clear();
  const Score& score = scorer.score();
  if (options.json) {
    fmt::print("{}\n", json::serialize(json::object{{"perplexity", score.perplexity()},
                                                    {"standard_error", score.error()},
                                                    {"nats_per_token", score.mean()},
                                                    {"scored_tokens", score.count},
                                                    {"windows", text.num_windows},
                                                    {"window_tokens", options.window}}));
    return;
  }
  fmt::print("perplexity {:.4f} +/- {:.4f}  ({:.4f} nats a token, {} tokens scored in {} windows of {})\n",
             score.perplexity(), score.error(), score.mean(), score.count, text.num_windows, options.window);
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
               {.names = "--compare-activations",
                .value = on_off(options->compare_activations),
                .help = "Compare the distributions with int8 and bf16 activations to those with f32"},
               {.names = "--kl-against",
                .value = text(options->original, "MODEL"),
                .help = "Compare the distributions with those of this model, the original of one that was compressed"},
               {.names = "--json", .value = on_off(options->json), .help = "Print one JSON object"}});
  options->model.add_kv_types(command);
  options->model.add_compute(command);
  command.on_run([options] { perplexity(*options); });
}

}  // namespace quire
