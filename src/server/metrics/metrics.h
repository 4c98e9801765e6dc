// What the server counts beside its models, and the whole of /metrics as Prometheus text. Any thread.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/json.h"
#include "engine/engine_status.h"
#include "grammar/grammar_cache.h"
#include "server/metrics/model_metrics.h"

namespace quire {

class Metrics {
 public:
  Metrics();
  ~Metrics();

  // A request that was refused without running; `reason` is its error code, such as "queue_full".
  void add_rejected(std::string_view reason);
  // `route` is the pattern of the route table, never the raw path.
  void add_http(std::string_view method, std::string_view route, int status, double seconds);
  void add_connection(int change);          // +1 opened, -1 closed
  void add_queued(int change);              // +1 waits for a worker, -1 no longer
  void add_compilation_queued(int change);  // +1 waits for its grammar to be compiled, -1 no longer
  void add_disconnect();  // the client left before its answer was complete: counted where status 499 is

  // A model's part of the exposition; every sample of it has the label model_name.
  struct ModelPart {
    std::string_view name;
    const ModelMetrics& requests;
    EngineStatus engine;
    GrammarCache::Counts grammars = {};
  };
  std::string exposition(std::span<const ModelPart> models) const;
  // Totals for the live view.
  json::object summary() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace quire
