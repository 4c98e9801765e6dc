#include "models/loading/rank_share.h"

#include <fmt/format.h>

#include <vector>

#include "base/error.h"

namespace quire {

void PartitionCheck::expect(int64_t count, int64_t unit) {
  for (int ranks = 2; ranks <= kMaxRanks; ++ranks) {
    if (count % (ranks * unit) != 0) possible_.reset(static_cast<size_t>(ranks));
  }
}

void PartitionCheck::check(const std::string& what, int64_t count, int64_t unit) {
  if (share_.size == 1) return;
  expect(count, unit);
  if (count % (share_.size * unit) == 0) return;
  fail(ErrorCode::kUnsupported, "{}, which {} ranks cannot divide{}; --tensor-parallel may be {}", what, share_.size,
       unit == 1 ? "" : fmt::format(" in whole blocks of {}", unit), possible());
}

std::string PartitionCheck::possible() const {
  std::vector<int> sizes;
  for (int ranks = 1; ranks <= kMaxRanks; ++ranks) {
    if (possible_.test(static_cast<size_t>(ranks))) sizes.push_back(ranks);
  }
  const int last = sizes.back();
  sizes.pop_back();
  return sizes.empty() ? fmt::format("{}", last) : fmt::format("{} or {}", fmt::join(sizes, ", "), last);
}

}  // namespace quire
