#include "drafting/ngram_pool.h"

#include <algorithm>

#include "base/check.h"

namespace quire {

void NgramPool::add(std::span<const int32_t> ngram) {
  CHECK(ngram.size() == n_);
  std::vector<int32_t>& rests = rests_[ngram[0]];
  const std::span<const int32_t> rest = ngram.subspan(1);
  const auto length = static_cast<int64_t>(rest.size());
  auto place = rests.begin();
  while (place != rests.end() && !std::equal(rest.begin(), rest.end(), place)) place += length;
  if (place == rests.end()) {
    if (rests.size() < max_rests_ * rest.size()) rests.resize(rests.size() + rest.size());
    place = rests.end() - length;
    std::copy(rest.begin(), rest.end(), place);
  }
  std::rotate(rests.begin(), place, place + length);
}

std::span<const int32_t> NgramPool::find(int32_t token) const {
  const auto found = rests_.find(token);
  return found == rests_.end() ? std::span<const int32_t>() : found->second;
}

size_t NgramPool::memory_bytes() const {
  size_t bytes = rests_.bucket_count() * sizeof(void*);
  for (const auto& [token, rests] : rests_) {
    bytes += 2 * sizeof(void*) + sizeof(std::vector<int32_t>) + rests.capacity() * sizeof(int32_t);
  }
  return bytes;
}

}  // namespace quire
