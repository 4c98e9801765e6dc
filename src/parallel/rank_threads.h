// A thread for each rank of this process; all run the same function at the same time.
//
// Owned by the model runner; run is called by one thread at a time.
#pragma once

#include <functional>
#include <memory>

namespace quire {

class RankThreads {
 public:
  // Rank 0 runs on the caller's thread.
  explicit RankThreads(int size);
  ~RankThreads();
  RankThreads(const RankThreads&) = delete;
  RankThreads& operator=(const RankThreads&) = delete;

  // Calls body(rank) for every rank, each on its thread, and returns when all have returned; throws the exception of
  // the lowest rank that threw. A rank must not throw while other ranks wait for it.
  void run(const std::function<void(int rank)>& body);

 private:
  struct Shared;
  std::unique_ptr<Shared> shared_;
};

}  // namespace quire
