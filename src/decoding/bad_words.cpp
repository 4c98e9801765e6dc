#include "decoding/bad_words.h"

#include <algorithm>
#include <limits>

#include "base/check.h"

namespace quire {

BadWords::BadWords(std::shared_ptr<const TokenSequences> words) : words_(std::move(words)) {
  if (words_ == nullptr) return;
  for (const std::vector<int32_t>& word : *words_) longest_ = std::max(longest_, word.size());
}

void BadWords::accept(int32_t id) {
  if (longest_ < 2) return;
  last_.push_back(id);
  const size_t wanted = longest_ - 1;
  if (last_.size() >= 2 * wanted) last_.erase(last_.begin(), last_.end() - static_cast<std::ptrdiff_t>(wanted));
}

void BadWords::forbid(std::span<float> logits) const {
  if (empty()) return;
  for (const std::vector<int32_t>& word : *words_) {
    if (word.empty() || word.size() - 1 > last_.size()) continue;
    if (!std::equal(word.rbegin() + 1, word.rend(), last_.rbegin())) continue;
    const auto id = static_cast<size_t>(word.back());
    CHECK(id < logits.size());
    logits[id] = -std::numeric_limits<float>::infinity();
  }
}

}  // namespace quire
