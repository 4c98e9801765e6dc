// A fixed set of worker threads that run one parallel loop at a time: they take tasks from a shared counter, so that a
// slow core delays only the task it has taken. After a loop the workers spin briefly and then sleep. A worker whose
// processor is busy with other processes rests for some milliseconds when short loops would wait for it.
//
// Owned by the code that runs the model; parallel_for is called by one thread at a time, never from inside a loop body.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "base/thread_placement.h"

namespace quire {

class ThreadPool {
 public:
  // `num_threads` includes the calling thread; at least 1. `places` is empty or has one for each thread: workers stay
  // where they may run, and the caller, thread 0, asks for its place itself.
  explicit ThreadPool(int num_threads, ThreadPlaces places = {});
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_threads() const { return num_threads_; }
  // Keeps the calling thread in the place of thread 0 until the end of the scope. It costs a few system calls, so it is
  // for a step, not for a loop; threads that are started meanwhile are bound too.
  [[nodiscard]] BoundThread bind_caller() const { return BoundThread(place_of(0)); }

  // Calls body(context, task, thread) once for every task in [0, num_tasks), with thread in [0, num_threads), in any
  // order, and returns when all tasks are done. The body must not throw.
  using Body = void (*)(void* context, int64_t task, int thread);
  void run(int64_t num_tasks, Body body, void* context);

  template <typename F>
  void parallel_for(int64_t num_tasks, F&& body) {
    run(
        num_tasks,
        [](void* context, int64_t task, int thread) {
          (*static_cast<std::remove_reference_t<F>*>(context))(task, thread);
        },
        const_cast<void*>(static_cast<const void*>(&body)));
  }

  // How often a worker had to rest.
  int64_t num_rests() const;

 private:
  struct Shared;
  const ProcessorList& place_of(int thread) const;

  int num_threads_;
  ThreadPlaces places_;
  std::unique_ptr<Shared> shared_;
};

}  // namespace quire
