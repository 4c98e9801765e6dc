#include "parallel/thread_communicator.h"

#include <algorithm>

#include "base/check.h"
#include "parallel/waiting.h"

namespace quire {
namespace {

constexpr int64_t kLine = 16;    // floats of a cache line: no two ranks write to the same line
constexpr int64_t kPiece = 512;  // floats summed at a time

// A barrier for the ranks. All ranks see after it what any rank wrote before it.
struct Ranks {
  explicit Ranks(int size) : arrays(static_cast<size_t>(size)) {}

  void meet() {
    const uint32_t before = round.load(std::memory_order_relaxed);  // stays until this rank has come
    if (num_arrived.fetch_add(1, std::memory_order_acq_rel) + 1 < static_cast<int>(arrays.size())) {
      return wait_while(round, before);
    }
    num_arrived.store(0, std::memory_order_relaxed);
    round.store(before + 1, std::memory_order_release);
    round.notify_all();
  }

  struct Array {
    float* x = nullptr;
    int64_t count = 0;
  };
  std::vector<Array> arrays;  // of the current call
  alignas(64) std::atomic<int> num_arrived{0};
  alignas(64) std::atomic<uint32_t> round{0};
};

class ThreadCommunicator : public Communicator {
 public:
  ThreadCommunicator(int rank, int size, std::shared_ptr<Ranks> ranks)
      : Communicator(rank, size), ranks_(std::move(ranks)) {}

  // Each rank sums a part of the elements and writes the result to every rank.
  void all_reduce_sum(float* x, int64_t count, void*) override {
    ranks_->arrays[static_cast<size_t>(rank())] = {x, count};
    ranks_->meet();
    const int64_t lines = (count + kLine - 1) / kLine;
    const int64_t end = std::min(count, lines * (rank() + 1) / size() * kLine);
    for (int64_t first = lines * rank() / size() * kLine; first < end; first += kPiece) {
      sum_piece(first, std::min(kPiece, end - first));
    }
    ranks_->meet();
  }

 private:
  void sum_piece(int64_t first, int64_t count) const {
    float sum[kPiece];
    std::copy_n(ranks_->arrays[0].x + first, count, sum);
    for (size_t r = 1; r < ranks_->arrays.size(); ++r) {
      DCHECK(ranks_->arrays[r].count == ranks_->arrays[0].count);
      const float* const part = ranks_->arrays[r].x + first;
      for (int64_t i = 0; i < count; ++i) sum[i] += part[i];
    }
    for (const Ranks::Array& array : ranks_->arrays) std::copy_n(sum, count, array.x + first);
  }

  std::shared_ptr<Ranks> ranks_;
};

}  // namespace

Communicators make_thread_communicators(int size) {
  const auto ranks = std::make_shared<Ranks>(size);
  Communicators made;
  for (int rank = 0; rank < size; ++rank) made.push_back(std::make_unique<ThreadCommunicator>(rank, size, ranks));
  return made;
}

}  // namespace quire
