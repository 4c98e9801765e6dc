// Threads of their own for the grammars of requests. Compiling one may take a thousand times longer than reading a
// request, and a worker that compiles cannot be interrupted: here it keeps no request without a grammar waiting.
//
// Clients take turns, by key or by address. The queue outlives the exchanges whose work it was given. Any thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>

#include "server/http/exchange.h"
#include "server/http/worker_pool.h"

namespace quire {

class CompileQueue {
 public:
  struct Options {
    int num_threads = 1;
    int niceness = 0;  // how far the threads give way
    int max_queued = 256;
    uint64_t max_queued_bytes = uint64_t{64} << 20;
    std::chrono::seconds max_wait{30};
    std::function<void(int change)> on_queued = {};  // any thread: +1 work waits, -1 it runs or was dropped
    // Runs work of an exchange; an exception of it becomes the answer. Any thread.
    std::function<void(const ExchangePtr& exchange, const std::function<void()>& work)> answer;
  };

  explicit CompileQueue(Options options);

  // Runs `work` on one of the threads, unless the client leaves before. When too many wait, the exchange is answered
  // with 429; when this one has waited for too long, with 503. `bytes`: what it holds while it waits.
  void run(const ExchangePtr& exchange, uint64_t bytes, std::function<void()> work);

  int num_queued() const { return pool_.num_queued(); }

 private:
  void submit(const ExchangePtr& exchange, uint64_t bytes, const std::function<void()>& work);

  const Options options_;
  http::WorkerPool pool_;
};

}  // namespace quire
