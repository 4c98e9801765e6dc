#include "server/access/origin_policy.h"

#include <arpa/inet.h>

#include <algorithm>

#include "base/error.h"
#include "server/api_error.h"
#include "server/http/wire.h"

namespace quire {
namespace {

bool is_port(std::string_view text) {
  return !text.empty() && text.size() <= 5 &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

// "Name.:8080" -> "name", "[::1]:80" -> "::1"; empty when it is not a host.
std::string host_name(std::string_view host) {
  if (host.starts_with('[')) {
    const size_t close = host.find(']');
    if (close == std::string_view::npos) return "";
    const std::string_view rest = host.substr(close + 1);
    if (!rest.empty() && (rest.front() != ':' || !is_port(rest.substr(1)))) return "";
    return http::lowered(host.substr(1, close - 1));
  }
  const size_t colon = host.find(':');
  if (colon != std::string_view::npos && !is_port(host.substr(colon + 1))) return "";
  std::string_view name = host.substr(0, colon);
  if (name.ends_with('.')) name.remove_suffix(1);
  return http::lowered(name);
}

// "https://chat.example:8443" -> "chat.example:8443"; empty when it is not a web origin.
std::string authority_of(std::string_view origin) {
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (!http::lowered(origin).starts_with(scheme)) continue;
    std::string authority = http::lowered(origin.substr(scheme.size()));
    return authority.find_first_of("/?#@ ") == std::string::npos ? authority : "";
  }
  return "";
}

ApiError forbidden(const char* code, const char* message) { return {403, "permission_error", code, message}; }

// The characters of an HTTP field's name.
bool is_field_name(std::string_view name) {
  constexpr std::string_view kMarks = "!#$%&'*+-.^_`|~";
  return !name.empty() && std::all_of(name.begin(), name.end(), [&](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || kMarks.find(c) != std::string_view::npos;
  });
}

// Whatever an allowed page asks for: client libraries send fields of their own, and new ones with every version.
std::string allowed_headers(const http::Request& request) {
  std::string allowed = "authorization, content-type, x-api-key, api-key, x-request-id, x-request-timeout";
  std::string_view asked = request.header("access-control-request-headers");
  while (!asked.empty()) {
    const size_t comma = std::min(asked.find(','), asked.size());
    std::string name = http::lowered(asked.substr(0, comma));
    asked.remove_prefix(std::min(comma + 1, asked.size()));
    const size_t first = name.find_first_not_of(" \t");
    if (first == std::string::npos) continue;
    name = name.substr(first, name.find_last_not_of(" \t") - first + 1);
    if (is_field_name(name)) allowed += ", " + name;
  }
  return allowed;
}

http::Response preflight_answer(const http::Request& request) {
  http::Response answer{.status = 204,
                        .content_type = "",
                        .body = "",
                        .headers = {{"Access-Control-Allow-Methods", "GET, HEAD, POST, DELETE, OPTIONS"},
                                    {"Access-Control-Allow-Headers", allowed_headers(request)},
                                    {"Access-Control-Max-Age", "600"}}};
  // A page of the internet asks for this before it may reach an address of a private network.
  if (request.header("access-control-request-private-network") == "true") {
    answer.headers.emplace_back("Access-Control-Allow-Private-Network", "true");
  }
  return answer;
}

}  // namespace

bool is_loopback_name(const std::string& name) {
  if (name == "localhost" || name.ends_with(".localhost")) return true;
  in_addr v4 = {};
  if (::inet_pton(AF_INET, name.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  in6_addr v6 = {};
  return ::inet_pton(AF_INET6, name.c_str(), &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

OriginPolicy::OriginPolicy(OriginOptions options) : options_(std::move(options)) {
  for (const std::string& origin : options_.cors_origins) {
    std::optional<OriginPattern> pattern = OriginPattern::parse(origin);
    if (!pattern) {
      fail(ErrorCode::kInvalidArgument,
           "--cors-origin '{}' is not an origin; write one such as https://chat.example, http://localhost:*, "
           "app://obsidian.md, null or *",
           printable(origin));
    }
    cors_origins_.push_back(std::move(*pattern));
  }
  for (std::string& host : options_.allowed_hosts) {
    const std::string name = host_name(host);
    if (name.empty()) {
      fail(ErrorCode::kInvalidArgument, "--allowed-host '{}' is not a host name; write one such as llm.example",
           printable(host));
    }
    host = name;
  }
}

bool OriginPolicy::is_host_allowed(std::string_view host) const {
  if (!options_.is_loopback && options_.allowed_hosts.empty()) return true;
  const std::string name = host_name(host);
  if (is_loopback_name(name)) return true;
  return !name.empty() &&
         std::find(options_.allowed_hosts.begin(), options_.allowed_hosts.end(), name) != options_.allowed_hosts.end();
}

bool OriginPolicy::is_cors_origin(std::string_view origin) const {
  return std::any_of(cors_origins_.begin(), cors_origins_.end(),
                     [&](const OriginPattern& pattern) { return pattern.matches(origin); });
}

// A rule against pages that rebind their name to this machine. No browser speaks to a Unix socket or leaves Host out.
bool OriginPolicy::needs_host(const http::Request& request) {
  const bool has_host = std::any_of(request.headers.begin(), request.headers.end(),
                                    [](const auto& field) { return field.first == "host"; });
  return has_host && request.remote != http::kUnixPeer;
}

std::optional<http::Response> OriginPolicy::check(const http::Request& request, http::Headers& reply_headers) const {
  const std::string_view host = request.header("host");
  if (needs_host(request) && !is_host_allowed(host)) {
    throw forbidden("host_not_allowed",
                    "this server answers to localhost and to names given with --allowed-host, not to this Host");
  }
  const std::string_view origin = request.header("origin");
  if (origin.empty()) return std::nullopt;
  const bool is_cors = is_cors_origin(origin);
  if (!is_cors) {
    const std::string authority = authority_of(origin);
    if (!authority.empty() && authority == http::lowered(host)) return std::nullopt;
    throw forbidden("origin_not_allowed",
                    "a page of this Origin may not use this server; its operator can allow it with --cors-origin");
  }
  reply_headers.emplace_back("Access-Control-Allow-Origin", origin);
  reply_headers.emplace_back("Vary", "Origin");
  reply_headers.emplace_back("Access-Control-Expose-Headers",
                             "x-request-id, retry-after, retry-after-ms, x-should-retry");
  if (request.method != "OPTIONS" || request.header("access-control-request-method").empty()) return std::nullopt;
  return preflight_answer(request);
}

}  // namespace quire
