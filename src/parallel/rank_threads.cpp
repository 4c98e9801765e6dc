#include "parallel/rank_threads.h"

#include <exception>
#include <thread>
#include <vector>

#include "parallel/waiting.h"

namespace quire {

struct RankThreads::Shared {
  explicit Shared(int size) : errors(static_cast<size_t>(size)) {
    for (int rank = 1; rank < size; ++rank) {
      threads.emplace_back([this, rank] { work(rank); });
    }
  }
  ~Shared() {
    body = nullptr;
    begin();
    for (std::thread& thread : threads) thread.join();
  }

  void begin() {
    round.fetch_add(1, std::memory_order_release);
    round.notify_all();
  }

  void call(int rank) {
    try {
      (*body)(rank);
    } catch (...) {
      errors[static_cast<size_t>(rank)] = std::current_exception();
    }
  }

  void work(int rank) {
    for (uint32_t seen = 0;; ++seen) {
      wait_while(round, seen);
      if (body == nullptr) return;
      call(rank);
      if (num_left.fetch_sub(1, std::memory_order_acq_rel) == 1) num_left.notify_all();
    }
  }

  std::vector<std::exception_ptr> errors;  // by rank
  const std::function<void(int)>* body = nullptr;
  alignas(64) std::atomic<uint32_t> round{0};
  alignas(64) std::atomic<int> num_left{0};
  std::vector<std::thread> threads;  // of ranks 1, 2, ...
};

RankThreads::RankThreads(int size) : shared_(std::make_unique<Shared>(size)) {}
RankThreads::~RankThreads() = default;

void RankThreads::run(const std::function<void(int rank)>& body) {
  Shared& shared = *shared_;
  shared.body = &body;
  shared.num_left.store(static_cast<int>(shared.threads.size()), std::memory_order_relaxed);
  if (!shared.threads.empty()) shared.begin();
  shared.call(0);
  for (int left = shared.num_left.load(std::memory_order_acquire); left != 0;
       left = shared.num_left.load(std::memory_order_acquire)) {
    wait_while(shared.num_left, left);
  }
  std::exception_ptr first;
  for (std::exception_ptr& error : shared.errors) {
    if (error && !first) first = error;
    error = nullptr;
  }
  if (first) std::rethrow_exception(first);
}

}  // namespace quire
