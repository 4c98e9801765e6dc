#include "server/apis/error_form.h"

#include <cmath>
#include <cstdint>
#include <string>

#include "server/http/content_coding.h"

namespace quire {

http::Response error_response(const ApiError& error, const ErrorForm& form) {
  http::Response response{.status = error.status(), .body = form.body(error)};
  if (error.retry_after_ms() > 0.0) {
    // Whole seconds, rounded up: a client that retries too early is refused again.
    const auto ms = static_cast<int64_t>(std::ceil(error.retry_after_ms()));
    response.headers.emplace_back("Retry-After", std::to_string((ms + 999) / 1000));
    response.headers.emplace_back("retry-after-ms", std::to_string(ms));
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
