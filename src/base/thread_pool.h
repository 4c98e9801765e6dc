// A fixed set of worker threads that share one loop at a time by taking tiles from a shared counter, so that a slow
// core delays only the tile it holds. Workers spin briefly after a loop and then sleep: an idle pool sleeps. A worker
// whose processor other processes use rests for some milliseconds when short loops would wait for it.
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

  // Calls body(context, tile, thread) once for every tile in [0, num_tiles), thread in [0, num_threads), in no
  // particular order, and returns when all are done. The body must not throw.
  using Body = void (*)(void* context, int64_t tile, int thread);
  void run(int64_t num_tiles, Body body, void* context);

  template <typename F>
  void parallel_for(int64_t num_tiles, F&& body) {
    run(
        num_tiles,
        [](void* context, int64_t tile, int thread) {
          (*static_cast<std::remove_reference_t<F>*>(context))(tile, thread);
        },
        const_cast<void*>(static_cast<const void*>(&body)));
  }

  // How often workers were sent to rest.
  int64_t num_rests() const;

 private:
  struct Shared;
  int num_threads_;
  std::unique_ptr<Shared> shared_;
};

}  // namespace quire
