// {"type": "error", "error": {"type", "message"}}: Anthropic's types, which follow from the status.
#include "base/json.h"
#include "server/apis/error_form.h"

namespace quire {
namespace {

const char* type_of(int status) {
  switch (status) {
    case 401: return "authentication_error";
    case 403: return "permission_error";
    case 404: return "not_found_error";
    case 408: return "timeout_error";
    case 413: return "request_too_large";
    case 429: return "rate_limit_error";
    case 503: return "overloaded_error";
    default: return status < 500 ? "invalid_request_error" : "api_error";
  }
}

std::string anthropic_error(const ApiError& error) {
  // By these words clients know that they have to shorten the conversation.
  const std::string_view prefix = error.code() == "context_length_exceeded" ? "prompt is too long: " : "";
  return json::serialize(
      json::object{{"type", "error"},
                   {"error", {{"type", type_of(error.status())}, {"message", std::string(prefix) + error.what()}}}});
}

std::string anthropic_stream_end(const ApiError& error) {
  return "event: error\ndata: " + anthropic_error(error) + "\n\n";
}

}  // namespace

constinit const ErrorForm kAnthropicErrors{.body = anthropic_error, .stream_end = anthropic_stream_end};

}  // namespace quire
