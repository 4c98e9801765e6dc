// /health, /livez, /readyz, for load balancers and supervisors. They need no key and show nothing that needs
// protection.

#include "server/answers/answer_errors.h"
#include "server/endpoints/endpoints.h"

namespace quire {
namespace {

constexpr double kRetryMs = 1000.0;

ApiError unavailable(const char* code, const char* message) {
  return {503, "unavailable_error", code, message, "", kRetryMs};
}

void require_engines(const ServerContext& context) {
  for (const ServedModel& model : context.models.all()) {
    switch (model.engine != nullptr ? model.engine->health() : EngineHealth::kHealthy) {
      case EngineHealth::kHealthy: break;
      case EngineHealth::kStalled:
        throw unavailable("engine_stalled", "requests wait and the engine makes no progress");
      case EngineHealth::kStopped: throw unavailable("engine_stopped", "the model cannot be run any more");
    }
  }
}

void answer_ok(const ExchangePtr& exchange) { exchange->reply({.body = R"({"status":"ok"})"}); }

}  // namespace

// Whether a request would be answered: also while load balancers are told to look away.
void handle_health(ServerContext& context, const ExchangePtr& exchange) {
  require_ready(context);
  require_engines(context);
  answer_ok(exchange);
}

// Whether new requests should be sent here.
void handle_readyz(ServerContext& context, const ExchangePtr& exchange) {
  if (context.state == ServerState::kLeaving) throw unavailable("draining", "the server is being stopped");
  handle_health(context, exchange);
}

// Says only that the process answers.
void handle_livez(ServerContext&, const ExchangePtr& exchange) { answer_ok(exchange); }

}  // namespace quire
