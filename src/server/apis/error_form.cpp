#include "server/apis/error_form.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "server/http/content_coding.h"

namespace quire {

http::Response error_response(const ApiError& error, const ErrorForm& form) {
  http::Response response{.status = error.status(), .body = form.body(error)};
  if (error.retry_after_ms() > 0.0) {
    // Whole seconds, rounded up: a client that retries too early is refused again.
    const double seconds = std::max(1.0, std::ceil(error.retry_after_ms() / 1000.0));
    response.headers.emplace_back("Retry-After", fmt::format("{:.0f}", seconds));
    response.headers.emplace_back("retry-after-ms", fmt::format("{:.0f}", std::ceil(error.retry_after_ms())));
  }
  if (const std::optional<bool> helps = repeat_helps(error)) {
    response.headers.emplace_back("x-should-retry", *helps ? "true" : "false");
  }
  if (error.status() == 401) response.headers.emplace_back("WWW-Authenticate", "Bearer");
  if (error.status() == 415) response.headers.emplace_back("Accept-Encoding", http::kContentCodings);
  if (error.code() == "draining") response.headers.emplace_back("Connection", "close");
  return response;
}

}  // namespace quire
