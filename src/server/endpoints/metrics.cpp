// GET /metrics, for Prometheus.

#include "server/metrics/metrics.h"

#include "server/endpoints/endpoints.h"

namespace quire {

void handle_metrics(ServerContext& context, const ExchangePtr& exchange) {
  std::vector<Metrics::ModelPart> models;
  if (context.state != ServerState::kLoading) {
    for (const ServedModel& model : context.models.all()) {
      models.push_back({.name = model.card.id,
                        .requests = *model.metrics,
                        .engine = model.engine != nullptr ? model.engine->status() : EngineStatus(),
                        .grammars = model.grammars != nullptr ? model.grammars->counts() : GrammarCache::Counts()});
    }
  }
  exchange->reply(
      {.content_type = "text/plain; version=0.0.4; charset=utf-8", .body = context.metrics->exposition(models)});
}

}  // namespace quire
