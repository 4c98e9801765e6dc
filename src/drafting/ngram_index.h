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
  // The longest end of `text`, of n to `max_length` tokens, that stands in `tokens` with a token after it; `tokens` are
  // those of the last extend(). Of several the first that ends at `from` or after it, or else the last one. Looks at
  // the last kMaxCandidates places of the last n tokens only.
  Match longest_match(std::span<const int32_t> tokens, std::span<const int32_t> text, int max_length,
                      int64_t from = INT64_MAX) const;

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
