#include "drafting/predicted_output.h"

#include <algorithm>

namespace quire {
namespace {

// Tokens of the answer that a place may agree with: more say nothing more.
constexpr size_t kLongestMatch = 16;
// A place that agrees with one token only counts at most this far after the last known place: a word was replaced, left
// out or inserted there.
constexpr size_t kNearby = 16;
// The answer is looked for so far before and after the last known place: the engine's thread does it for every token.
constexpr size_t kSearched = 4096;

}  // namespace

std::span<const int32_t> PredictedOutput::next(std::span<const int32_t> answer, int64_t count) {
  for (; num_followed_ < answer.size(); ++num_followed_) {
    if (!is_lost_ && place_ < tokens_.size() && tokens_[place_] == answer[num_followed_]) {
      ++place_;
      continue;
    }
    const size_t found = find(answer.first(num_followed_ + 1));
    is_lost_ = found == tokens_.size();
    if (!is_lost_) place_ = found;
  }
  if (is_lost_) return {};
  return std::span(tokens_).subspan(place_, std::min(tokens_.size() - place_, static_cast<size_t>(count)));
}

// The place after the tokens that agree with most of the last tokens of the answer; of equals the nearest after the
// last known place, else the first. tokens_.size(): none.
size_t PredictedOutput::find(std::span<const int32_t> answer) const {
  size_t best = tokens_.size();
  size_t longest = 0;
  const size_t search_end = std::min(tokens_.size(), place_ + kSearched);
  for (size_t end = std::max(place_, kSearched + 1) - kSearched; end < search_end; ++end) {
    const size_t most = std::min({end, answer.size(), kLongestMatch});
    size_t length = 0;
    while (length < most && tokens_[end - 1 - length] == answer[answer.size() - 1 - length]) ++length;
    if (length == 0) continue;
    const bool is_after = end > place_;
    if (length == 1 && (!is_after || end > place_ + kNearby)) continue;
    if (length > longest || (length == longest && is_after && best <= place_)) {
      best = end;
      longest = length;
    }
  }
  return best;
}

}  // namespace quire
