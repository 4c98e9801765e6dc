#include "apps/scored_windows.h"

#include <algorithm>
#include <numeric>

namespace quire {
ScoredWindow::ScoredWindow(const ModelInfo& info, int64_t window, int64_t max_batch_tokens)
    : is_long_(info.is_long(window)), window_(window), step_(max_batch_tokens) {
  blocks_.resize(static_cast<size_t>((window + kKvBlockSize - 1) / kKvBlockSize));
  std::iota(blocks_.begin(), blocks_.end(), 0);
}

void ScoredWindow::make_batch(std::span<const int32_t> ids, int64_t first) {
  const int64_t count = std::min(step_, window_ - 1 - first);
  batch_.clear();
  const auto part = ids.subspan(static_cast<size_t>(first), static_cast<size_t>(count));
  batch_.token_ids.assign(part.begin(), part.end());
  batch_.sequences.push_back(
      {.num_tokens = count, .first_position = first, .block_tables = {&blocks_, 1}, .is_long = is_long_});
  for (int64_t row = std::max<int64_t>(0, window_ / 2 - first); row < count; ++row) {
    batch_.logit_rows.push_back(static_cast<int32_t>(row));
  }
}

}  // namespace quire
