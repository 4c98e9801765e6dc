// Where the n-grams of a growing token sequence stand: hash chains, as compressors of the LZ77 family have them. Tokens
// are compared, so equal hashes of different n-grams only cost time.
//
// Eight to twenty bytes a token; one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace quire {

class NgramIndex {
 public:
  struct Match {
    int64_t end = -1;  // the matched tokens stand before tokens[end], which exists; -1: none
    int64_t length = 0;
  };

  // `n`: the shortest match, at least 1.
  explicit NgramIndex(int n) : n_(n) {}

  // Takes in what came since the last call: `tokens` begins with the tokens of that call.
  void extend(std::span<const int32_t> tokens);
  // The longest end of `tokens`, of n to `max_length` tokens, that stood before; of several the last one. `tokens` are
  // those of the last extend(). Looks at the last kMaxCandidates places of the last n tokens only.
  Match longest_match(std::span<const int32_t> tokens, int max_length) const;

  size_t memory_bytes() const { return (heads_.capacity() + previous_.capacity()) * sizeof(int32_t); }

  static constexpr int kMaxCandidates = 128;

 private:
  size_t bucket_of(const int32_t* ngram) const;
  void insert(std::span<const int32_t> tokens, size_t end);

  int n_;
  // An n-gram is named by its end. heads_[bucket]: the last one in the bucket; previous_[end]: the one before it there,
  // or -1. heads_.size() is a power of two.
  std::vector<int32_t> heads_;
  std::vector<int32_t> previous_;
};

}  // namespace quire
