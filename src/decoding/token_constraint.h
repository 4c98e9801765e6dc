// What the tokens of a sequence may be: a grammar's state, as the sampler and the engine see it.
//
// The engine makes one for each choice of a request and tells it every token that was chosen, in order; drafts that do
// not hold are never told. One thread at a time. What a member throws ends the request, and no other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace quire {

// Token ids as bits: that of token i is bit i % 64 of word i / 64.
constexpr size_t mask_words(int64_t vocab_size) { return static_cast<size_t>((vocab_size + 63) / 64); }
inline bool is_in_mask(std::span<const uint64_t> mask, int32_t id) {
  return ((mask[static_cast<size_t>(id) / 64] >> (id % 64)) & 1) != 0;
}

class TokenConstraint {
 public:
  virtual ~TokenConstraint() = default;

  // Sets the bits of the tokens that may follow and clears all others. An end-of-generation token may follow where the
  // text may end. mask: [mask_words(vocab_size)], all of the model's ids, those without a token included. No bit is set
  // where nothing can follow any more.
  virtual void fill_mask(std::span<uint64_t> mask) = 0;
  // The token was chosen. It is one of those that may follow. After an end-of-generation token the text is complete.
  virtual void accept(int32_t token) = 0;
  // The text is complete and nothing but its end can follow: the choice ends without a further token.
  virtual bool is_complete() const = 0;
  // Appends tokens that are certain or likely to follow, at most `limit`: drafts. The state does not change.
  virtual void guess(size_t limit, std::vector<int32_t>& tokens) = 0;
  // How many of these tokens may follow in this order, as far as that is known at little cost: drafts beyond the first
  // that may not follow are not worth a row. The state does not change.
  virtual size_t count_fitting(std::span<const int32_t> tokens) { return tokens.size(); }
};

// What a request brings: makes the constraint of each choice. Immutable; any thread.
class ConstraintSource {
 public:
  virtual ~ConstraintSource() = default;
  virtual std::unique_ptr<TokenConstraint> begin() const = 0;
};

}  // namespace quire
