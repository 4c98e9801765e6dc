// One line per request on standard error, as text for people or JSON for programs. Any thread. Never a prompt, a query,
// a path as it was sent, or a key.
#pragma once

#include <cstdint>
#include <string_view>

#include "server/http/server.h"

namespace quire {

enum class RequestLog : uint8_t { kOff, kText, kJson };

RequestLog parse_request_log(std::string_view name);  // off, text, json; throws Error
// `route` is the pattern of the route table.
void log_request(RequestLog form, const http::Finished& finished, std::string_view route);

}  // namespace quire
