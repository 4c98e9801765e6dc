#include "server/answers/answer_errors.h"

#include "base/log.h"
#include "server/metrics/metrics.h"

namespace quire {
namespace {

// Only the log gets the reason: the text of an unknown exception may hold addresses and paths.
ApiError internal_error(const ExchangePtr& exchange, const char* reason) {
  log::warning("request {} failed: {}", exchange->request().id, reason);
  return {500, "server_error", "internal_error",
          fmt::format("the server failed to answer this request; its log has the reason under request id {}",
                      exchange->request().id)};
}

bool is_internal(ErrorCode code) {
  return code == ErrorCode::kCorrupt || code == ErrorCode::kOutOfMemory || code == ErrorCode::kIo;
}

}  // namespace

ApiError as_api_error(const Error& error) {
  if (error.code() == ErrorCode::kUnsupported) return {400, "not_supported_error", "not_supported", error.what()};
  if (error.code() == ErrorCode::kLimit) return {400, "invalid_request_error", "limit_exceeded", error.what()};
  return {400, "invalid_request_error", "", error.what()};
}

void answer_errors(ServerContext& context, const ExchangePtr& exchange, const std::function<void()>& handle) {
  const auto answer = [&](const ApiError& error) {
    context.metrics->add_rejected(error.code().empty() ? error.type() : error.code());
    exchange->reply(error_response(error));
  };
  try {
    handle();
  } catch (const ApiError& error) {
    answer(error);
  } catch (const Error& error) {
    answer(is_internal(error.code()) ? internal_error(exchange, error.what()) : as_api_error(error));
  } catch (const std::exception& error) {
    answer(internal_error(exchange, error.what()));
  }
}

void require_loaded(const ServerContext& context) {
  if (context.state == ServerState::kLoading) {
    throw ApiError(503, "unavailable_error", "model_loading", "the model is still loading; try again in a moment", "",
                   1000);
  }
}

void require_ready(const ServerContext& context) {
  require_loaded(context);
  if (context.state == ServerState::kDraining) {
    throw ApiError(503, "unavailable_error", "draining", "the server is shutting down and takes no new requests", "",
                   1000);
  }
}

void require_model(const ServerContext& context, const std::string& model) {
  if (model.empty() || context.model.has_name(model) || model == context.model.root) return;
  throw ApiError(404, "not_found_error", "model_not_found",
                 fmt::format("there is no model '{}' here; this server has: {}", printable(model), context.model.id),
                 "model");
}

}  // namespace quire
