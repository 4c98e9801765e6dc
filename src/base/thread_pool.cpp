#include "base/thread_pool.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <ctime>
#include <thread>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/cpu_pause.h"

namespace quire {
namespace {

// In a step, each loop follows the previous one within microseconds. A worker that finds no task for this many pauses
// (about 50 us) sleeps in the kernel.
constexpr int kSpins = 1500;
constexpr uint64_t kClosed = 0xffffffffu;  // "no task left" in the low half of the state

// A worker that loses its processor to another process in the middle of a task delays the loop for a time slice, some
// milliseconds. If the caller waited for it longer than the loop had taken until then, the worker rests: loops of a
// decode step are much shorter than a time slice and run faster without it. The rest doubles each time that the worker
// is delayed again soon after a rest.
using Clock = std::chrono::steady_clock;
constexpr Clock::duration kLongWait = std::chrono::microseconds(500);
constexpr Clock::duration kMinRest = std::chrono::milliseconds(8);
constexpr Clock::duration kMaxRest = std::chrono::milliseconds(64);

// The processor time that a thread has used.
Clock::duration processor_time(pthread_t thread) {
  clockid_t clock;
  timespec time;
  if (pthread_getcpuclockid(thread, &clock) != 0 || clock_gettime(clock, &time) != 0) return {};
  return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
}

// A worker as the caller of run() sees it.
struct alignas(64) Worker {
  std::atomic<bool> has_task{false};
  std::atomic<Clock::rep> rest_until{0};
  // Used only by the caller of run():
  Clock::duration rest = kMinRest;
  bool was_late = false;
  Clock::duration processor_time_before = {};
};

}  // namespace

// `state` holds the generation of the loop (high half) and the next task (low half). A worker takes a task by a compare
// and swap of the whole word, so it can never run a task of one loop with the body of another: the fields of a loop are
// written only while the state is closed with a new generation.
struct ThreadPool::Shared {
  alignas(64) std::atomic<uint64_t> state{kClosed};
  alignas(64) std::atomic<int64_t> num_done{0};
  std::atomic<int64_t> num_tasks{0};
  std::atomic<Body> body{nullptr};
  std::atomic<void*> context{nullptr};
  alignas(64) std::atomic<uint32_t> epoch{0};
  std::atomic<bool> stop{false};
  std::vector<Worker> workers;  // of threads 1, 2, ...
  std::atomic<int64_t> num_rests{0};
  std::vector<std::thread> threads;

  explicit Shared(int num_workers) : workers(static_cast<size_t>(num_workers)) {}

  // Takes and runs tasks until none is left. Returns whether it ran any. Sets `has_task` when it takes the first.
  bool drain(int thread, std::atomic<bool>* has_task = nullptr) {
    bool any = false;
    uint64_t seen = state.load(std::memory_order_acquire);
    while (true) {
      const uint64_t task = seen & kClosed;
      const int64_t limit = num_tasks.load(std::memory_order_relaxed);
      const Body run_body = body.load(std::memory_order_relaxed);
      void* const run_context = context.load(std::memory_order_relaxed);
      if (task == kClosed || static_cast<int64_t>(task) >= limit) return any;
      // acq_rel: orders the loads of the fields above before the swap that proves them current.
      if (!state.compare_exchange_weak(seen, seen + 1, std::memory_order_acq_rel, std::memory_order_acquire)) continue;
      if (has_task != nullptr && !any) has_task->store(true, std::memory_order_relaxed);
      run_body(run_context, static_cast<int64_t>(task), thread);
      any = true;
      if (num_done.fetch_add(1, std::memory_order_acq_rel) + 1 == limit) num_done.notify_all();
      seen = state.load(std::memory_order_acquire);
    }
  }

  void work(int thread) {
    Worker& self = workers[static_cast<size_t>(thread) - 1];
    while (true) {
      // The order matters: a worker that reads the destructor's epoch also reads its `stop`; one that reads an earlier
      // epoch does not sleep.
      const uint32_t before = epoch.load(std::memory_order_acquire);
      if (stop.load(std::memory_order_relaxed)) return;
      bool found = false;
      for (int spin = 0; spin < kSpins && !found; ++spin) {
        found = drain(thread, &self.has_task);
        cpu_pause();
      }
      self.has_task.store(false, std::memory_order_relaxed);
      const Clock::time_point rest_until{Clock::duration(self.rest_until.load(std::memory_order_relaxed))};
      if (Clock::now() < rest_until) {
        std::this_thread::sleep_until(rest_until);
      } else if (!found) {
        epoch.wait(before, std::memory_order_acquire);
      }
    }
  }

  void wait_for_all(int64_t num, Clock::time_point start);
  void wait_asleep(int64_t num);
};

void ThreadPool::Shared::wait_asleep(int64_t num) {
  for (int64_t done = num_done.load(std::memory_order_acquire); done != num;
       done = num_done.load(std::memory_order_acquire)) {
    num_done.wait(done, std::memory_order_acquire);
  }
}

// Waits until `num` tasks are done. Workers that lost their processor meanwhile must rest.
void ThreadPool::Shared::wait_for_all(int64_t num, Clock::time_point start) {
  for (int spin = 0; spin < kSpins; ++spin) {
    if (num_done.load(std::memory_order_acquire) == num) return;
    cpu_pause();
  }
  const Clock::time_point asleep = Clock::now();
  for (size_t i = 0; i < workers.size(); ++i) {
    workers[i].was_late = workers[i].has_task.load(std::memory_order_relaxed);
    if (workers[i].was_late) workers[i].processor_time_before = processor_time(threads[i].native_handle());
  }
  wait_asleep(num);
  const Clock::time_point now = Clock::now();
  const Clock::duration waited = now - asleep;
  if (waited < kLongWait || waited < asleep - start) return;
  for (size_t i = 0; i < workers.size(); ++i) {
    Worker& worker = workers[i];
    if (!worker.was_late) continue;
    if (processor_time(threads[i].native_handle()) - worker.processor_time_before > waited / 2) continue;
    const Clock::time_point last{Clock::duration(worker.rest_until.load(std::memory_order_relaxed))};
    worker.rest = now - last < 2 * worker.rest ? std::min(2 * worker.rest, kMaxRest) : kMinRest;
    worker.rest_until.store((now + worker.rest).time_since_epoch().count(), std::memory_order_relaxed);
    num_rests.fetch_add(1, std::memory_order_relaxed);
  }
}

ThreadPool::ThreadPool(int num_threads, ThreadPlaces places)
    : num_threads_(std::max(1, num_threads)),
      places_(std::move(places)),
      shared_(std::make_unique<Shared>(num_threads_ - 1)) {
  CHECK(places_.empty() || places_.size() == static_cast<size_t>(num_threads_));
  for (int thread = 1; thread < num_threads_; ++thread) {
    shared_->threads.emplace_back([this, thread] {
      const BoundThread bound(place_of(thread));
      shared_->work(thread);
    });
  }
}

const ProcessorList& ThreadPool::place_of(int thread) const {
  static const ProcessorList kAnywhere;
  return places_.empty() ? kAnywhere : places_[static_cast<size_t>(thread)];
}

ThreadPool::~ThreadPool() {
  shared_->stop = true;
  shared_->epoch.fetch_add(1, std::memory_order_release);
  shared_->epoch.notify_all();
  for (std::thread& thread : shared_->threads) thread.join();
}

void ThreadPool::run(int64_t num_tasks, Body body, void* context) {
  if (num_tasks <= 0) return;
  CHECK(num_tasks < static_cast<int64_t>(kClosed));
  if (num_threads_ == 1 || num_tasks == 1) {
    for (int64_t task = 0; task < num_tasks; ++task) body(context, task, 0);
    return;
  }
  Shared& shared = *shared_;
  const uint64_t generation = (shared.state.load(std::memory_order_relaxed) >> 32) + 1;
  shared.state.exchange((generation << 32) | kClosed, std::memory_order_acq_rel);
  shared.num_tasks.store(num_tasks, std::memory_order_relaxed);
  shared.body.store(body, std::memory_order_relaxed);
  shared.context.store(context, std::memory_order_relaxed);
  shared.num_done.store(0, std::memory_order_relaxed);
  shared.state.store((generation + 1) << 32, std::memory_order_release);
  shared.epoch.fetch_add(1, std::memory_order_release);
  shared.epoch.notify_all();

  const Clock::time_point start = Clock::now();
  shared.drain(0);
  shared.wait_for_all(num_tasks, start);
}

int64_t ThreadPool::num_rests() const { return shared_->num_rests.load(std::memory_order_relaxed); }

}  // namespace quire
