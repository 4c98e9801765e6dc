// /health, /livez, /readyz, for load balancers and supervisors. They need no key and show nothing that needs
// protection.

#include "server/api_error.h"
#include "server/endpoints/endpoints.h"

namespace quire {
namespace {

constexpr double kRetryMs = 1000.0;

void answer_by_engine(const ServerContext& context, const ExchangePtr& exchange) {
  switch (context.engine != nullptr ? context.engine->health() : EngineHealth::kHealthy) {
    case EngineHealth::kHealthy: return exchange->reply({.body = R"({"status":"ok"})"});
    case EngineHealth::kStalled:
      return exchange->reply(error_response(ApiError(503, "unavailable_error", "engine_stalled",
                                                     "requests wait and the engine makes no progress", "", kRetryMs)));
    case EngineHealth::kStopped:
      return exchange->reply(error_response(
          ApiError(503, "unavailable_error", "engine_stopped", "the model cannot be run any more", "", kRetryMs)));
  }
}

void answer_by_state(const ServerContext& context, const ExchangePtr& exchange) {
  switch (context.state) {
    case ServerState::kReady: return answer_by_engine(context, exchange);
    case ServerState::kLoading:
      return exchange->reply(error_response(
          ApiError(503, "unavailable_error", "model_loading", "the model is being loaded", "", kRetryMs)));
    case ServerState::kLeaving:
    case ServerState::kDraining:
      return exchange->reply(
          error_response(ApiError(503, "unavailable_error", "draining", "the server is being stopped", "", kRetryMs)));
  }
}

}  // namespace

void handle_health(ServerContext& context, const ExchangePtr& exchange) { answer_by_state(context, exchange); }
void handle_readyz(ServerContext& context, const ExchangePtr& exchange) { answer_by_state(context, exchange); }
// Says only that the process answers.
void handle_livez(ServerContext&, const ExchangePtr& exchange) { exchange->reply({.body = R"({"status":"ok"})"}); }

}  // namespace quire
