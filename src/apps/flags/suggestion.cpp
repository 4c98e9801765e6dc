#include "apps/flags/suggestion.h"

#include <algorithm>
#include <limits>

namespace quire {
namespace {

// Insertions, deletions, changes and swaps of neighbours that turn one word into the other.
size_t distance(std::string_view a, std::string_view b) {
  std::vector<size_t> before(b.size() + 1), last(b.size() + 1), now(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    now[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      now[j] = std::min({last[j] + 1, now[j - 1] + 1, last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      const bool is_swap = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (is_swap) now[j] = std::min(now[j], before[j - 2] + 1);
    }
    before.swap(last);
    last.swap(now);
  }
  return last[b.size()];
}

std::string_view without_dashes(std::string_view word) {
  return word.substr(std::min(word.find_first_not_of('-'), word.size()));
}

}  // namespace

std::string suggestion(std::string_view typed, const std::vector<std::string>& known) {
  constexpr size_t kMaxLength = 64;  // no word of ours is as long
  const std::string_view wanted = without_dashes(typed);
  if (wanted.size() < 2 || wanted.size() > kMaxLength) return "";
  std::string best;
  size_t least = std::numeric_limits<size_t>::max();
  for (const std::string& word : known) {
    const std::string_view candidate = without_dashes(word);
    if (candidate.size() < 2) continue;
    const size_t found = candidate.starts_with(wanted) ? 0 : distance(wanted, candidate);
    if (found > (wanted.size() + 2) / 3 || found >= least) continue;
    least = found;
    best = word;
  }
  return best;
}

}  // namespace quire
