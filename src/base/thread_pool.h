// A fixed set of worker threads that run one parallel loop at a time: they take tasks from a shared counter, so that a
// slow core delays only the task it has taken. After a loop the workers spin briefly and then sleep. A worker whose
// processor is busy with other processes rests for some milliseconds when short loops would wait for it.
//
// Owned by the code that runs the model; parallel_for is called by one thread at a time, never from inside a loop body.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

namespace quire {

class ThreadPool {
 public:
  // `num_threads` includes the calling thread; at least 1.
  explicit ThreadPool(int num_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_threads() const { return num_threads_; }

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
  int num_threads_;
  std::unique_ptr<Shared> shared_;
};

}  // namespace quire
