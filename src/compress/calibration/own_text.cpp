#include "compress/calibration/own_text.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/check.h"
#include "base/random.h"

namespace quire {
namespace {

// A token drawn with its probability; `draw` in [0, 1).
int32_t sample(std::span<const float> logits, double draw) {
  const auto largest = static_cast<double>(*std::ranges::max_element(logits));
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - largest);
  double left = draw * sum;
  for (size_t id = 0; id < logits.size(); ++id) {
    left -= std::exp(static_cast<double>(logits[id]) - largest);
    if (left < 0) return static_cast<int32_t>(id);
  }
  return static_cast<int32_t>(std::ranges::max_element(logits) - logits.begin());
}

}  // namespace

RunnerOptions own_text_runner(RunnerOptions options, const OwnTextOptions& text) {
  options.max_sequences = text.num_windows;
  options.max_batch_tokens = std::max(text.num_windows, static_cast<int64_t>(text.begin.size()) * text.num_windows);
  options.max_logit_rows = text.num_windows;
  options.max_context = text.window;
  options.num_blocks = text.num_windows * blocks_for(text.window);
  options.keep_all_positions = true;
  return options;
}

std::vector<std::vector<int32_t>> write_own_text(ModelRunner& runner, const OwnTextOptions& options,
                                                 const std::function<void(int64_t)>& progress) {
  const auto num_windows = static_cast<size_t>(options.num_windows);
  const auto vocab_size = static_cast<size_t>(runner.info().vocab_size);
  CHECK(static_cast<int64_t>(options.begin.size()) < options.window);
  const auto draw = [&](size_t window, size_t position) {
    return uniform(options.seed, window * static_cast<size_t>(options.window) + position);
  };
  std::vector<std::vector<int32_t>> windows(num_windows, options.begin);
  std::vector<BlockTable> blocks(num_windows);
  for (size_t w = 0; w < num_windows; ++w) {
    if (windows[w].empty()) windows[w] = {static_cast<int32_t>(draw(w, 0) * static_cast<double>(vocab_size))};
    blocks[w].resize(static_cast<size_t>(blocks_for(options.window)));
    std::iota(blocks[w].begin(), blocks[w].end(), static_cast<int32_t>(w * blocks[w].size()));
  }
  size_t fed = 0;
  while (windows[0].size() < static_cast<size_t>(options.window)) {
    const size_t length = windows[0].size();
    Batch batch;
    for (size_t w = 0; w < num_windows; ++w) {
      batch.token_ids.insert(batch.token_ids.end(), windows[w].begin() + static_cast<int64_t>(fed), windows[w].end());
      batch.logit_rows.push_back(static_cast<int32_t>(batch.token_ids.size()) - 1);
      batch.sequences.push_back({.num_tokens = static_cast<int64_t>(length - fed),
                                 .first_position = static_cast<int64_t>(fed),
                                 .block_tables = {&blocks[w], 1},
                                 .is_long = runner.info().is_long(options.window)});
    }
    const std::span<const float> logits = runner.run(batch);
    runner.parallel_for(options.num_windows, [&](int64_t index, int) {
      const auto w = static_cast<size_t>(index);
      windows[w].push_back(sample(logits.subspan(w * vocab_size, vocab_size), draw(w, length)));
    });
    fed = length;
    if (progress) progress(static_cast<int64_t>(length) + 1);
  }
  return windows;
}

}  // namespace quire
