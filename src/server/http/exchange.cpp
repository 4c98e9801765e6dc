#include "server/http/exchange.h"

#include <algorithm>

#include "server/http/wire.h"

namespace quire::http {
namespace {

std::string_view find(const Headers& headers, std::string_view name) {
  for (const auto& [key, value] : headers) {
    if (key == name) return value;
  }
  return {};
}

}  // namespace

std::string_view Request::header(std::string_view name) const { return find(headers, name); }
std::string Request::parameter(std::string_view name) const {
  for (std::string_view rest = query; !rest.empty();) {
    const size_t end = std::min(rest.find('&'), rest.size());
    const std::string_view pair = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    const size_t equals = pair.find('=');
    if (equals == std::string_view::npos || pair.substr(0, equals) != name) continue;
    std::string value;
    return percent_decode(pair.substr(equals + 1), value) ? value : "";
  }
  return "";
}

const std::string& client_of(const Request& request) {
  return request.tenant.empty() ? request.client : request.tenant;
}

std::string_view Response::header(std::string_view name) const { return find(headers, name); }

}  // namespace quire::http
