#include "server/answers/answer_errors.h"

#include "base/log.h"

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

void answer_errors(const ExchangePtr& exchange, const ErrorForm& form, const std::function<void()>& handle,
                   const std::function<void(const ApiError&)>& on_error) {
  const auto answer = [&](const ApiError& error) {
    if (on_error) on_error(error);
    exchange->reply(error_response(error, form));
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

const ServedModel& require_model(const ServerContext& context, std::string_view name) {
  if (const ServedModel* const model = context.models.find(name)) return *model;
  throw ApiError(404, "not_found_error", "model_not_found",
                 fmt::format("there is no model '{}' here; this server has: {}", printable(name), context.models.ids()),
                 "model");
}

}  // namespace quire
