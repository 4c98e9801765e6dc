// Runs batches, one after the other, by turns of the tenants, a few lines at once, on a thread of its own. Each line is
// answered by the handler of its endpoint and is stored when it is; the end of the process at any time repeats no
// stored line.
//
// Live requests come first: no line starts while one waits for the engine, and lines have the lowest priority.
#pragma once

#include <functional>
#include <memory>

#include "server/batches/store.h"
#include "server/context.h"
#include "server/http/exchange.h"

namespace quire {

class BatchRunner {
 public:
  // Answers a request, or throws nothing: as the listener does with those of clients.
  using Answer = std::function<void(const ExchangePtr& exchange)>;

  // All outlive the runner.
  BatchRunner(const ServerContext& context, BatchStore& store, Answer answer);
  // Abandons the lines that run; they run again at the next start.
  ~BatchRunner();
  BatchRunner(const BatchRunner&) = delete;
  BatchRunner& operator=(const BatchRunner&) = delete;

 private:
  class Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace quire
