#include "apps/text_scores.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <iterator>

#include "apps/scored_windows.h"
#include "apps/standard_input.h"
#include "base/error.h"
#include "dialogue/text_processor.h"
#include "measure/progress_bar.h"

namespace quire {
namespace {

std::string read_text(const std::string& path) {
  if (path == "-") return standard_input();
  std::ifstream file(path, std::ios::binary);
  if (!file) fail(ErrorCode::kIo, "cannot read {}", printable(path));
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

std::span<const float> row_of(std::span<const float> logits, size_t row, const ModelInfo& info) {
  const auto vocab_size = static_cast<size_t>(info.vocab_size);
  return logits.subspan(row * vocab_size, vocab_size);
}

ScoredText load_scored_text(const ScoredTextOptions& options, const Checkpoint& checkpoint, const ModelInfo& info) {
  const auto processor = TextProcessor::load(checkpoint);
  ScoredText text{.ids = processor->encode_plain(read_text(options.file), /*parse_special=*/false),
                  .begin = processor->encode_plain(""),
                  .window = options.window};
  if (options.window > info.max_context) {
    fail(ErrorCode::kLimit, "windows of {} tokens are more than the model's {} positions; give a smaller --ctx-size",
         options.window, info.max_context);
  }
  text.num_windows = static_cast<int64_t>(text.ids.size()) / options.window;
  if (text.num_windows == 0) {
    fail(ErrorCode::kInvalidArgument, "the text has {} tokens, expected at least one window of {}; see --ctx-size",
         text.ids.size(), options.window);
  }
  if (options.max_windows > 0) text.num_windows = std::min(text.num_windows, options.max_windows);
  return text;
}

RunnerOptions scoring_options(RunnerOptions options, int64_t window) {
  options.max_context = window;
  options.keep_all_positions = true;
  options.max_sequences = 1;
  options.max_batch_tokens = std::min(options.max_batch_tokens, window);
  options.max_logit_rows = options.max_batch_tokens;
  return options;
}

std::span<const float> Scorer::add(const Batch& batch, std::span<const int32_t> next) {
  const std::span<const float> logits = runner_->run(batch);
  surprises_.resize(batch.logit_rows.size());
  runner_->parallel_for(static_cast<int64_t>(surprises_.size()), [&](int64_t i, int) {
    const auto row = static_cast<size_t>(i);
    surprises_[row] = surprise(row_of(logits, row, runner_->info()), next[static_cast<size_t>(batch.logit_rows[row])]);
  });
  for (const double value : surprises_) score_.add(value);
  return logits;
}

void compare_rows(ModelRunner& runner, std::span<const float> logits, std::span<const float> other, size_t num_rows,
                  Distance& distance) {
  std::vector<Distance::Row> rows(num_rows);
  runner.parallel_for(static_cast<int64_t>(num_rows), [&](int64_t i, int) {
    const auto row = static_cast<size_t>(i);
    rows[row] = Distance::measure(row_of(logits, row, runner.info()), row_of(other, row, runner.info()));
  });
  for (const Distance::Row& row : rows) distance.add(row);
}

Distance compare_models(Scorer& original, Scorer& other, ScoredText& text) {
  ScoredWindow window(original.runner().info(), text.window, original.runner().options().max_batch_tokens);
  Distance distance;
  load::ProgressBar bar;
  text.for_each_window([&](std::span<const int32_t> ids, int64_t index) {
    window.for_each_batch(ids, [&](const Batch& batch, std::span<const int32_t> next) {
      const std::span<const float> logits = original.add(batch, next);
      compare_rows(original.runner(), logits, other.add(batch, next), batch.logit_rows.size(), distance);
    });
    bar.show("comparing", index + 1, text.num_windows, fmt::format("KL {:.6f} so far", distance.mean()));
  });
  bar.clear();
  return distance;
}

}  // namespace quire
