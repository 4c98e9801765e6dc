#include "server/api_error.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/json.h"

namespace quire {

std::string error_json(const ApiError& error) {
  const auto text_or_null = [](const std::string& text) {
    return text.empty() ? json::value(nullptr) : json::value(json::string(text));
  };
  return json::serialize(json::object{{"error", json::object{{"message", error.what()},
                                                             {"type", error.type()},
                                                             {"param", text_or_null(error.param())},
                                                             {"code", text_or_null(error.code())}}}});
}

std::optional<bool> repeat_helps(const ApiError& error) {
  if (error.status() == 429 || error.status() == 503) return true;
  // Clients repeat these by their status alone, but the same request meets the same deadline and the same numbers.
  if (error.status() == 501 || error.code() == "timeout" || error.code() == "numeric_error") return false;
  return std::nullopt;
}

http::Response error_response(const ApiError& error) {
  http::Response response{.status = error.status(), .body = error_json(error)};
  if (error.retry_after_ms() > 0.0) {
    // Whole seconds, rounded up: a client that retries too early is refused again.
    const double seconds = std::max(1.0, std::ceil(error.retry_after_ms() / 1000.0));
    response.headers.emplace_back("Retry-After", fmt::format("{:.0f}", seconds));
    response.headers.emplace_back("retry-after-ms", fmt::format("{:.0f}", std::ceil(error.retry_after_ms())));
  }
  if (const std::optional<bool> helps = repeat_helps(error)) {
    response.headers.emplace_back("x-should-retry", *helps ? "true" : "false");
  }
  if (error.code() == "draining") response.headers.emplace_back("Connection", "close");
  return response;
}

}  // namespace quire
