// /health, /livez, /readyz: what load balancers and supervisors ask. No key, and nothing worth one.

#include "server/api_error.h"
#include "server/endpoints/endpoints.h"

namespace quire {
namespace {

constexpr double kRetryMs = 1000.0;

void answer_by_state(const ServerContext& context, const ExchangePtr& exchange) {
  switch (context.state) {
    case ServerState::kReady: return exchange->reply({.body = R"({"status":"ok"})"});
    case ServerState::kLoading:
      return exchange->reply(error_response(
          ApiError(503, "unavailable_error", "model_loading", "the model is being loaded", "", kRetryMs)));
    case ServerState::kDraining:
      return exchange->reply(
          error_response(ApiError(503, "unavailable_error", "draining", "the server is being stopped", "", kRetryMs)));
  }
}

}  // namespace

void handle_health(ServerContext& context, const ExchangePtr& exchange) { answer_by_state(context, exchange); }
void handle_readyz(ServerContext& context, const ExchangePtr& exchange) { answer_by_state(context, exchange); }
// The process answers: that is all.
void handle_livez(ServerContext&, const ExchangePtr& exchange) { exchange->reply({.body = R"({"status":"ok"})"}); }

}  // namespace quire
