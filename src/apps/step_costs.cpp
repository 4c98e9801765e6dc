#include "apps/step_costs.h"

#include <algorithm>
#include <chrono>
#include <numeric>

namespace quire {
namespace {

class StepTimer {
 public:
  explicit StepTimer(ModelRunner& runner) : runner_(runner) {
    // All sequences read the same blocks: the time does not depend on their content.
    table_.resize(static_cast<size_t>(runner.options().num_blocks));
    std::iota(table_.begin(), table_.end(), 0);
  }

  // `decodes` sequences at `depth` and a prefill chunk of `prefill` tokens after `prefill_depth`.
  MeasuredStep measure(int64_t decodes, int64_t depth, int64_t prefill, int64_t prefill_depth, int repetitions) {
    Batch batch;
    MeasuredStep step;
    const auto add = [&](int64_t count, int64_t first) {
      for (int64_t i = 0; i < count; ++i) {
        batch.token_ids.push_back(static_cast<int32_t>((first + i * 7919 + 1) % runner_.info().vocab_size));
      }
      batch.sequences.push_back({.num_tokens = count, .first_position = first, .block_tables = {&table_, 1}});
      batch.logit_rows.push_back(static_cast<int32_t>(batch.token_ids.size()) - 1);
      step.shape.rows += count;
      step.shape.sequences += 1;
      step.shape.attended +=
          static_cast<double>(count) * (static_cast<double>(first) + static_cast<double>(count + 1) / 2);
    };
    for (int64_t i = 0; i < decodes; ++i) add(1, depth);
    if (prefill > 0) add(prefill, prefill_depth);
    std::vector<double> times;
    for (int i = 0; i <= repetitions; ++i) {
      const auto start = std::chrono::steady_clock::now();
      runner_.run(batch);
      times.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
    }
    std::sort(times.begin() + 1, times.end());  // the first one warms up
    step.ms = times[1 + times.size() / 2 - 1];
    return step;
  }

 private:
  ModelRunner& runner_;
  BlockTable table_;
};

}  // namespace

std::vector<MeasuredStep> measure_step_costs(ModelRunner& runner, int repetitions) {
  const RunnerOptions& options = runner.options();
  const int64_t positions = std::min(options.max_context, options.num_blocks * kKvBlockSize);
  const int64_t deep = std::max<int64_t>(0, std::min<int64_t>(1024, positions - options.max_batch_tokens - 1));
  StepTimer timer(runner);
  std::vector<MeasuredStep> steps;
  for (const int64_t depth : {deep / 4, deep}) {
    for (const int64_t decodes : {1, 2, 4, 8, 16, 24, 32, 64}) {
      if (decodes > options.max_sequences) break;
      steps.push_back(timer.measure(decodes, depth, 0, 0, repetitions));
      for (const int64_t prefill : {16, 64, 192}) {
        if (decodes + prefill > options.max_batch_tokens || decodes + 1 > options.max_sequences) break;
        steps.push_back(timer.measure(decodes, depth, prefill, 0, repetitions));
      }
    }
    for (int64_t prefill = 16; prefill <= options.max_batch_tokens; prefill *= 2) {
      steps.push_back(timer.measure(0, 0, prefill, depth, repetitions));
    }
  }
  return steps;
}

CostModel fit_costs(const std::vector<MeasuredStep>& steps) {
  CostModel model;
  // The model forgets old steps; several rounds give early and late shapes the same weight.
  for (int round = 0; round < 4; ++round) {
    for (const MeasuredStep& step : steps) model.observe(step.shape, step.ms);
  }
  return model;
}

}  // namespace quire
