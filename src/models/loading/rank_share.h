// What a rank keeps of matrices that are divided among ranks (Megatron-LM, arXiv 1909.08053): of those whose outputs
// are heads or hidden units a share of the rows, of those that read them the same share of the columns.
#pragma once

#include <bitset>
#include <cstdint>
#include <string>

namespace quire {

struct Share {
  int rank = 0;
  int size = 1;

  int64_t of(int64_t count) const { return count / size; }
  int64_t first_of(int64_t count) const { return rank * of(count); }
};

enum class Division : uint8_t { kNone, kRows, kColumns };

// Sees to it that everything can be divided evenly, and knows in how many parts else. One thread.
class Divisor {
 public:
  static constexpr int kMostRanks = 64;

  explicit Divisor(Share share) : share_(share) { possible_.set(); }

  // Keeps in mind that `count` pieces will have to be divided, by units that stay whole.
  void expect(int64_t count, int64_t unit = 1);
  // Divides them now. Throws Error kUnsupported, with `what` it is about and the numbers of ranks that suit all that is
  // known.
  void check(const std::string& what, int64_t count, int64_t unit = 1);

 private:
  std::string possible() const;  // "1, 2 or 4"

  Share share_;
  std::bitset<kMostRanks + 1> possible_;
};

}  // namespace quire
