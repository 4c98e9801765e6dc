// How well models predict a text, and how far one is from another: what `quire perplexity` and `quire compress report`
// share. See perplexity.cpp for the method. One thread, with the runners' own.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "measure/distributions.h"
#include "models/running/model_runner.h"

namespace quire {

struct ScoredTextOptions {
  std::string file;  // "-": standard input
  int64_t window = 512;
  int64_t max_windows = 0;  // 0: the whole text
};

struct ScoredText {
  std::vector<int32_t> ids;    // of all windows
  std::vector<int32_t> begin;  // what the model puts before texts, or nothing
  int64_t window = 0;
  int64_t num_windows = 0;

  // Calls run(ids of a window, its number).
  template <typename F>
  void for_each_window(const F& run) {
    for (int64_t i = 0; i < num_windows; ++i) {
      const auto part = std::span(ids).subspan(static_cast<size_t>(i * window), static_cast<size_t>(window));
      if (!begin.empty()) part[0] = begin[0];
      run(part, i);
    }
  }
};

// Throws Error: kIo, kLimit for windows above the model's context, kInvalidArgument for a text without a whole window.
ScoredText load_scored_text(const ScoredTextOptions& options, const Checkpoint& checkpoint, const ModelInfo& info);

// What a runner needs to score windows.
RunnerOptions scoring_options(RunnerOptions options, int64_t window);

// Runs windows of a text on one model and sums the surprise of their tokens.
class Scorer {
 public:
  explicit Scorer(std::shared_ptr<ModelRunner> runner) : runner_(std::move(runner)) {}

  // The logits of the scored rows; valid until the next call.
  std::span<const float> add(const Batch& batch, std::span<const int32_t> next);

  ModelRunner& runner() { return *runner_; }
  const Score& score() const { return score_; }

 private:
  std::shared_ptr<ModelRunner> runner_;
  Score score_;
  std::vector<double> surprises_;
};

// Adds the rows of a batch to the distance of `other` from `logits`.
void compare_rows(ModelRunner& runner, std::span<const float> logits, std::span<const float> other, size_t num_rows,
                  Distance& distance);

// Scores both on the same rows. Shows progress.
Distance compare_models(Scorer& original, Scorer& other, ScoredText& text);

// Row `row` of logits.
std::span<const float> row_of(std::span<const float> logits, size_t row, const ModelInfo& info);

}  // namespace quire
