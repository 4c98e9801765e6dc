#include "decoding/dry.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace quire {
namespace {

// lengths[i]: how many tokens from i on equal the first ones (Main and Lorentz 1984, "Z-algorithm"), in linear time.
// lengths[0] is 0.
std::vector<size_t> common_lengths(std::span<const int32_t> tokens) {
  std::vector<size_t> lengths(tokens.size(), 0);
  size_t left = 0;
  size_t right = 0;  // tokens [left, right) equal the first ones, and no known match ends later
  for (size_t i = 1; i < tokens.size(); ++i) {
    size_t length = i < right ? std::min(right - i, lengths[i - left]) : 0;
    while (i + length < tokens.size() && tokens[length] == tokens[i + length]) ++length;
    lengths[i] = length;
    if (i + length > right) {
      left = i;
      right = i + length;
    }
  }
  return lengths;
}

}  // namespace

DryHistory::DryHistory(const DryParams& params, std::span<const int32_t> prompt)
    : params_(params),
      window_(params.penalty_last_n < 0 ? std::numeric_limits<size_t>::max() / 2
                                        : static_cast<size_t>(params.penalty_last_n)),
      tokens_(prompt.end() - static_cast<std::ptrdiff_t>(std::min(prompt.size(), window_)), prompt.end()) {}

void DryHistory::accept(int32_t id) {
  tokens_.push_back(id);
  if (tokens_.size() > 2 * window_) {
    tokens_.erase(tokens_.begin(), tokens_.end() - static_cast<std::ptrdiff_t>(window_));
  }
}

std::vector<int32_t> DryHistory::newest_first() const {
  const size_t count = std::min(tokens_.size(), window_);
  return {tokens_.rbegin(), tokens_.rbegin() + static_cast<std::ptrdiff_t>(count)};
}

// A repetition does not reach back over a breaker.
size_t DryHistory::longest_repetition(std::span<const int32_t> newest_first) const {
  if (params_.breakers == nullptr) return newest_first.size();
  struct ByFirstToken {
    bool operator()(const std::vector<int32_t>& breaker, int32_t token) const { return breaker.front() < token; }
    bool operator()(int32_t token, const std::vector<int32_t>& breaker) const { return token < breaker.front(); }
  };
  for (size_t i = 0; i < newest_first.size(); ++i) {
    size_t longest = 0;
    const auto [first, last] =
        std::equal_range(params_.breakers->begin(), params_.breakers->end(), newest_first[i], ByFirstToken());
    for (auto breaker = first; breaker != last; ++breaker) {
      // Its first token is at i, the others follow it in the text.
      const bool fits = breaker->size() <= i + 1;
      if (fits && std::equal(breaker->rbegin(), breaker->rend(),
                             newest_first.begin() + static_cast<std::ptrdiff_t>(i + 1 - breaker->size()))) {
        longest = std::max(longest, breaker->size());
      }
    }
    if (longest > 0) return i + 1 - longest;
  }
  return newest_first.size();
}

std::vector<std::pair<int32_t, double>> DryHistory::penalties() const {
  const std::vector<int32_t> tokens = newest_first();
  const auto allowed = static_cast<size_t>(params_.allowed_length);
  if (tokens.size() <= allowed) return {};
  const size_t longest = longest_repetition(tokens);
  if (longest < allowed) return {};
  const std::vector<size_t> lengths = common_lengths(tokens);
  // The token before i, in time after it, is what followed the text's end there.
  std::vector<std::pair<int32_t, size_t>> repetitions;
  for (size_t i = 1; i < tokens.size(); ++i) {
    const size_t length = std::min(lengths[i], longest);
    if (length >= allowed) repetitions.emplace_back(tokens[i - 1], length);
  }
  std::ranges::sort(repetitions, std::ranges::greater());
  std::vector<std::pair<int32_t, double>> penalties;
  for (const auto& [id, length] : repetitions) {
    if (!penalties.empty() && penalties.back().first == id) continue;  // a longer one counts
    penalties.emplace_back(id, params_.multiplier * std::pow(params_.base, static_cast<double>(length - allowed)));
  }
  return penalties;
}

}  // namespace quire
