#include "drafting/ngram_index.h"

#include <algorithm>

#include "base/check.h"

namespace quire {

size_t NgramIndex::bucket_of(const int32_t* ngram) const {
  uint64_t hash = 0;
  for (int i = 0; i < n_; ++i) {
    hash = (hash ^ static_cast<uint32_t>(ngram[i])) * 0x9e3779b97f4a7c15u;
    hash ^= hash >> 29;
  }
  return static_cast<size_t>(hash) & (heads_.size() - 1);
}

void NgramIndex::insert(std::span<const int32_t> tokens, size_t end) {
  int32_t& head = heads_[bucket_of(tokens.data() + end - static_cast<size_t>(n_))];
  previous_[end] = head;
  head = static_cast<int32_t>(end);
}

void NgramIndex::extend(std::span<const int32_t> tokens) {
  CHECK(tokens.size() < INT32_MAX);
  auto first_end = std::max(previous_.size(), static_cast<size_t>(n_));
  // The last token is the end of no n-gram yet: nothing follows.
  if (tokens.size() <= first_end) return;
  previous_.resize(tokens.size(), -1);
  if (heads_.size() < tokens.size()) {
    size_t num_buckets = std::max<size_t>(heads_.size(), 64);
    while (num_buckets < tokens.size()) num_buckets *= 2;
    heads_.assign(num_buckets, -1);
    first_end = static_cast<size_t>(n_);
  }
  for (size_t end = first_end; end < tokens.size(); ++end) insert(tokens, end);
}

NgramIndex::Match NgramIndex::longest_match(std::span<const int32_t> tokens, int max_length) const {
  Match best;
  if (heads_.empty()) return best;
  const int32_t* last = tokens.data() + tokens.size();
  int32_t end = heads_[bucket_of(last - n_)];
  for (int i = 0; end >= 0 && i < kMaxCandidates && best.length < max_length; ++i) {
    const int32_t* place = tokens.data() + end;
    const int64_t limit = std::min<int64_t>(max_length, end);
    int64_t length = 0;
    while (length < limit && place[-1 - length] == last[-1 - length]) ++length;
    if (length >= n_ && length > best.length) best = {.end = end, .length = length};
    end = previous_[static_cast<size_t>(end)];
  }
  return best;
}

}  // namespace quire
