// Beam search the plain way, for tests: whole sequences, sorted, to the very end.
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include "engine/beam_search.h"

namespace quire::test {

struct PlainAnswer {
  std::vector<int32_t> tokens;
  double logprob = 0.0;
  double score = 0.0;
  bool is_stopped = false;
};

// `next`: the likeliest tokens after these, at least twice as many as there are beams, in descending order.
inline std::vector<PlainAnswer> plain_beam_search(
    const BeamOptions& options, int64_t max_tokens, const std::function<bool(int32_t)>& is_stop,
    const std::function<std::vector<TokenLogprob>(const std::vector<int32_t>&)>& next) {
  const auto width = static_cast<size_t>(options.width);
  std::vector<PlainAnswer> beams(1);
  std::vector<PlainAnswer> ended;
  for (int64_t length = 1; length <= max_tokens && !beams.empty(); ++length) {
    std::vector<PlainAnswer> extended;
    for (const PlainAnswer& beam : beams) {
      std::vector<TokenLogprob> candidates = next(beam.tokens);
      candidates.resize(std::min(candidates.size(), 2 * width));
      for (const TokenLogprob& candidate : candidates) {
        PlainAnswer& longer = extended.emplace_back(beam);
        longer.tokens.push_back(candidate.id);
        longer.logprob += static_cast<double>(candidate.logprob);
        longer.score = longer.logprob / std::pow(static_cast<double>(length), double{options.length_penalty});
        longer.is_stopped = is_stop(candidate.id);
      }
    }
    std::ranges::stable_sort(extended, std::ranges::greater(), &PlainAnswer::logprob);
    beams.clear();
    for (const PlainAnswer& answer : extended) {
      if (answer.is_stopped) {
        ended.push_back(answer);
      } else if (beams.size() < width) {
        beams.push_back(answer);
      }
    }
    if (options.early_stopping && ended.size() >= width) break;
    if (length == max_tokens) ended.insert(ended.end(), beams.begin(), beams.end());
  }
  std::ranges::stable_sort(ended, std::ranges::greater(), &PlainAnswer::score);
  ended.resize(std::min(ended.size(), width));
  return ended;
}

}  // namespace quire::test
