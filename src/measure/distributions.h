// What a row of logits says of the next token, and how far the rows of one model are from another's: the measures of
// quality. All in nats. Plain functions and sums; one thread.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace quire {

// The negative logarithm of the probability that a row of logits gives to the token.
double surprise(std::span<const float> logits, int32_t id);
// The Kullback-Leibler divergence of the distribution of `other` from that of `logits`: sum p log(p / q), p of
// `logits`.
double divergence(std::span<const float> logits, std::span<const float> other);

// Sums over scored tokens.
struct Score {
  double sum = 0;
  double squares = 0;
  int64_t count = 0;

  void add(double surprise);
  double mean() const { return sum / static_cast<double>(count); }
  double perplexity() const;
  // Standard error of the perplexity, from that of the mean.
  double error() const;
};

// How far the distributions of one model are from another's, over scored tokens.
class Distance {
 public:
  // Of one token: the divergence, and whether both rows have the same likeliest token.
  struct Row {
    double divergence = 0;
    bool same_choice = false;
  };
  static Row measure(std::span<const float> logits, std::span<const float> other);

  void add(const Row& row);
  int64_t count() const { return static_cast<int64_t>(divergences_.size()); }
  double mean() const;
  double error() const;  // standard error of the mean
  double largest() const;
  // The least value that a share of all tokens do not exceed, between neighbours by a straight line: 0.99.
  double quantile(double share) const;
  double share_alike() const;

 private:
  std::vector<double> divergences_;
  int64_t same_choices_ = 0;
};

}  // namespace quire
