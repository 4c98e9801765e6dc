#include "compress/pruning/sparsity.h"

#include <charconv>
#include <numeric>

#include "base/check.h"
#include "base/error.h"

namespace quire {
namespace {

// A whole number that is all of `text`; -1 if it is none.
int64_t whole_number(std::string_view text) {
  int64_t value = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() ? value : -1;
}

}  // namespace

SparsityPattern parse_sparsity(std::string_view text) {
  if (text.ends_with('%')) {
    const int64_t percent = whole_number(text.substr(0, text.size() - 1));
    if (percent >= 1 && percent <= 99) return {.share = static_cast<double>(percent) / 100};
  } else if (const size_t colon = text.find(':'); colon != std::string_view::npos) {
    const int64_t kept = whole_number(text.substr(0, colon));
    const int64_t group = whole_number(text.substr(colon + 1));
    if (kept >= 1 && kept < group && group <= 256) {
      return {.share = static_cast<double>(group - kept) / static_cast<double>(group), .group = group};
    }
  }
  double share = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), share);
  if (error == std::errc() && end == text.data() + text.size() && share > 0 && share < 1) return {.share = share};
  fail(ErrorCode::kInvalidArgument,
       "sparsity \"{}\"; give the share of zeros in each row, 1% to 99% or 0.01 to 0.99, or N:M to keep N of every M "
       "neighbours, such "
       "as 2:4 or 32:64",
       printable(text));
}

std::string sparsity_name(const SparsityPattern& pattern) {
  if (pattern.group == 0) return "unstructured";
  return std::to_string(pattern.group - pattern.num_zeros(pattern.group)) + ":" + std::to_string(pattern.group);
}

void zero_lowest(std::span<float> weights, std::span<const float> scores, int64_t num_zeros) {
  CHECK(weights.size() == scores.size());
  std::vector<int32_t> order(weights.size());
  std::iota(order.begin(), order.end(), 0);
  const auto goes_first = [scores](int32_t a, int32_t b) {
    const float x = scores[static_cast<size_t>(a)];
    const float y = scores[static_cast<size_t>(b)];
    return x < y || (x == y && a > b);
  };
  const auto end = order.begin() + num_zeros;
  if (end != order.end()) std::nth_element(order.begin(), end, order.end(), goes_first);
  for (auto it = order.begin(); it != end; ++it) weights[static_cast<size_t>(*it)] = 0;
}

}  // namespace quire
