// GET /metrics, for Prometheus.

#include "server/metrics/metrics.h"

#include "server/endpoints/endpoints.h"

namespace quire {

void handle_metrics(ServerContext& context, const ExchangePtr& exchange) {
  const bool is_loaded = context.state != ServerState::kLoading;
  const EngineStatus engine = is_loaded && context.engine != nullptr ? context.engine->status() : EngineStatus();
  exchange->reply({.content_type = "text/plain; version=0.0.4; charset=utf-8",
                   .body = context.metrics->exposition(is_loaded ? context.model.id : "", engine)});
}

}  // namespace quire
