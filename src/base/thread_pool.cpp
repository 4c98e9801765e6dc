#include "base/thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "base/check.h"

namespace quire {
namespace {

// A loop of the step path follows the previous one within microseconds; a worker that finds nothing for this many
// pauses (about 50 us) sleeps in the kernel.
constexpr int kSpins = 1500;
constexpr uint64_t kClosed = 0xffffffffu;  // "no tile left" in the low half of the state

inline void pause() { __builtin_ia32_pause(); }

}  // namespace

// `state` holds the loop's generation (high half) and the next tile (low half). A worker takes a tile by a compare and
// swap of the whole word, so it can never take a tile of one loop with the body of another: the fields of a loop are
// written only while the state is closed under a generation of its own.
struct ThreadPool::Shared {
  alignas(64) std::atomic<uint64_t> state{kClosed};
  alignas(64) std::atomic<int64_t> num_done{0};
  std::atomic<int64_t> num_tiles{0};
  std::atomic<Body> body{nullptr};
  std::atomic<void*> context{nullptr};
  alignas(64) std::atomic<uint32_t> epoch{0};
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;

  // Takes and runs tiles until none is left. Returns whether it ran any.
  bool drain(int thread) {
    bool any = false;
    uint64_t seen = state.load(std::memory_order_acquire);
    while (true) {
      const uint64_t tile = seen & kClosed;
      const int64_t limit = num_tiles.load(std::memory_order_relaxed);
      const Body run_body = body.load(std::memory_order_relaxed);
      void* const run_context = context.load(std::memory_order_relaxed);
      if (tile == kClosed || static_cast<int64_t>(tile) >= limit) return any;
      // acq_rel: orders the loads of the fields above before the swap that proves them current.
      if (!state.compare_exchange_weak(seen, seen + 1, std::memory_order_acq_rel, std::memory_order_acquire)) continue;
      run_body(run_context, static_cast<int64_t>(tile), thread);
      any = true;
      if (num_done.fetch_add(1, std::memory_order_acq_rel) + 1 == limit) num_done.notify_all();
      seen = state.load(std::memory_order_acquire);
    }
  }

  void work(int thread) {
    while (true) {
      // In this order: an epoch seen after the destructor's last step comes with its `stop`, an earlier one does not
      // sleep.
      const uint32_t before = epoch.load(std::memory_order_acquire);
      if (stop.load(std::memory_order_relaxed)) return;
      bool found = false;
      for (int spin = 0; spin < kSpins && !found; ++spin) {
        found = drain(thread);
        pause();
      }
      if (!found) epoch.wait(before, std::memory_order_acquire);
    }
  }
};

ThreadPool::ThreadPool(int num_threads) : num_threads_(std::max(1, num_threads)), shared_(std::make_unique<Shared>()) {
  for (int thread = 1; thread < num_threads_; ++thread) {
    shared_->threads.emplace_back([this, thread] { shared_->work(thread); });
  }
}

ThreadPool::~ThreadPool() {
  shared_->stop = true;
  shared_->epoch.fetch_add(1, std::memory_order_release);
  shared_->epoch.notify_all();
  for (std::thread& thread : shared_->threads) thread.join();
}

void ThreadPool::run(int64_t num_tiles, Body body, void* context) {
  if (num_tiles <= 0) return;
  CHECK(num_tiles < static_cast<int64_t>(kClosed));
  if (num_threads_ == 1 || num_tiles == 1) {
    for (int64_t tile = 0; tile < num_tiles; ++tile) body(context, tile, 0);
    return;
  }
  Shared& shared = *shared_;
  const uint64_t generation = (shared.state.load(std::memory_order_relaxed) >> 32) + 1;
  shared.state.exchange((generation << 32) | kClosed, std::memory_order_acq_rel);
  shared.num_tiles.store(num_tiles, std::memory_order_relaxed);
  shared.body.store(body, std::memory_order_relaxed);
  shared.context.store(context, std::memory_order_relaxed);
  shared.num_done.store(0, std::memory_order_relaxed);
  shared.state.store((generation + 1) << 32, std::memory_order_release);
  shared.epoch.fetch_add(1, std::memory_order_release);
  shared.epoch.notify_all();

  shared.drain(0);
  for (int spin = 0; spin < kSpins; ++spin) {
    if (shared.num_done.load(std::memory_order_acquire) == num_tiles) return;
    pause();
  }
  for (int64_t done = shared.num_done.load(std::memory_order_acquire); done != num_tiles;
       done = shared.num_done.load(std::memory_order_acquire)) {
    shared.num_done.wait(done, std::memory_order_acquire);
  }
}

int available_processors() {
  cpu_set_t set;
  int count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  std::ifstream file("/sys/fs/cgroup/cpu.max");  // cgroup v2: "<quota|max> <period>", in microseconds
  std::string quota;
  double period = 0;
  if (file >> quota >> period && quota != "max" && period > 0) {
    count = std::min(count, static_cast<int>(std::max(1.0, std::stod(quota) / period)));
  }
  return std::max(1, count);
}

}  // namespace quire
