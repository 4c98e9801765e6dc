// Tokens that may still be chosen, and what puts them in order without sorting a whole vocabulary.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace quire {

struct Candidate {
  int32_t id = 0;
  float logit = 0.0f;
  float probability = 0.0f;
};

// Descending logits, equals by ascending id.
inline bool likelier(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}

// The k likeliest, in no order, without probabilities. Tokens at -infinity are left out, so there may be fewer. k > 0;
// no NaN. `candidates` never holds more than logits.size().
void collect_top_k(std::span<const float> logits, size_t k, std::vector<Candidate>& candidates);

// Keeps the most typical candidates up to mass p, at least one. Candidates in descending order of logit (ties:
// ascending id), probabilities normalised; so they leave.
void keep_typical(std::vector<Candidate>& candidates, float p);

// Candidates in descending order, sorted piece by piece as far as somebody looks.
class LazyOrder {
 public:
  explicit LazyOrder(std::vector<Candidate>& candidates) : candidates_(candidates) {}

  // index < candidates.size()
  const Candidate& at(size_t index) {
    if (index >= num_sorted_) sort_through(index);
    return candidates_[index];
  }

 private:
  void sort_through(size_t index);

  std::vector<Candidate>& candidates_;
  size_t num_sorted_ = 0;
};

}  // namespace quire
