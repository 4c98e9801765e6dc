#include "server/metrics/request_log.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <string>

#include "base/error.h"
#include "base/json.h"

namespace quire {
namespace {

std::string now_text() {
  const auto now = std::chrono::system_clock::now();
  const auto milliseconds =
      std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count() % 1000;
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", fmt::gmtime(std::chrono::system_clock::to_time_t(now)),
                     milliseconds);
}

}  // namespace

RequestLog parse_request_log(std::string_view name) {
  if (name == "off") return RequestLog::kOff;
  if (name == "text") return RequestLog::kText;
  if (name == "json") return RequestLog::kJson;
  fail(ErrorCode::kInvalidArgument, "--log-requests is '{}'; use off, text or json", printable(name, 40));
}

void log_request(RequestLog form, const http::Finished& finished, std::string_view route) {
  if (form == RequestLog::kOff) return;
  const http::Request& request = finished.request;
  // The method is text from the client.
  const std::string method = printable(request.method.empty() ? "-" : request.method, 20);
  const double ms = finished.seconds * 1000.0;
  std::string line;
  if (form == RequestLog::kJson) {
    json::object out = {{"time", now_text()}, {"request_id", request.id}, {"remote", request.client},
                        {"method", method},   {"route", route},           {"status", finished.status},
                        {"ms", ms},           {"bytes", finished.bytes}};
    if (!request.tenant.empty()) out["tenant"] = request.tenant;
    line = json::serialize(out) + "\n";
  } else {
    line = fmt::format("{} {} {} {} {} {:.1f} ms, {} bytes, {}{}\n", now_text(), request.client, method, route,
                       finished.status, ms, finished.bytes, request.id,
                       request.tenant.empty() ? "" : ", key " + request.tenant);
  }
  // One call, so that lines of several threads do not mix.
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace quire
