// N-grams by their first token: of each token the few that came last. One thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

namespace quire {

class NgramPool {
 public:
  // `n`: tokens of an n-gram, at least 2. `max_rests`: n-grams kept for a first token, at least 1.
  NgramPool(size_t n, size_t max_rests) : n_(n), max_rests_(max_rests) {}

  void add(std::span<const int32_t> ngram);
  // What has followed `token`, the latest first: [size / (n - 1)][n - 1]. Valid until add().
  std::span<const int32_t> find(int32_t token) const;

  size_t memory_bytes() const;

 private:
  size_t n_;
  size_t max_rests_;
  std::unordered_map<int32_t, std::vector<int32_t>> rests_;
};

}  // namespace quire
