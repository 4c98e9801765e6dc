// A text cut into windows whose second half is scored.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "models/running/model_runner.h"

namespace quire {

// Makes the batches of one window after the other, all over the same blocks.
class ScoredWindow {
 public:
  ScoredWindow(const ModelInfo& info, int64_t window, int64_t max_batch_tokens);

  // Calls run(batch, next) for every step over ids [window], which ends before the last of them. Rows that are scored
  // are batch.logit_rows; next[r] is the token after row r.
  template <typename F>
  void for_each_batch(std::span<const int32_t> ids, const F& run) {
    for (int64_t first = 0; first < window_ - 1; first += step_) {
      make_batch(ids, first);
      run(batch_, ids.subspan(static_cast<size_t>(first + 1)));
    }
  }

 private:
  void make_batch(std::span<const int32_t> ids, int64_t first);

  bool is_long_;
  int64_t window_;
  int64_t step_;
  std::vector<int32_t> blocks_;
  Batch batch_;
};

}  // namespace quire
