// The part that a rank keeps of matrices that are divided among ranks (Megatron-LM, arXiv 1909.08053): a share of the
// rows if the outputs are heads or hidden units, the same share of the columns if the inputs are.
#pragma once

#include <bitset>
#include <cstdint>
#include <string>

namespace quire {

struct RankShare {
  int rank = 0;
  int size = 1;

  int64_t of(int64_t count) const { return count / size; }
  int64_t first_of(int64_t count) const { return rank * of(count); }
};

// How ranks divide a matrix.
enum class Partition : uint8_t { kNone, kRows, kColumns };

// Checks that everything can be divided evenly, and collects the numbers of ranks for which it can. One thread.
class PartitionCheck {
 public:
  static constexpr int kMaxRanks = 64;

  explicit PartitionCheck(RankShare share) : share_(share) { possible_.set(); }

  // Records that `count` pieces will be divided, in units that stay whole.
  void expect(int64_t count, int64_t unit = 1);
  // Throws Error kUnsupported when they cannot be divided, naming `what` and the numbers of ranks that can divide
  // everything recorded so far.
  void check(const std::string& what, int64_t count, int64_t unit = 1);

 private:
  std::string possible() const;  // "1, 2 or 4"

  RankShare share_;
  std::bitset<kMaxRanks + 1> possible_;
};

}  // namespace quire
