// Which web pages may talk to this server, by the Host and Origin header fields. Immutable; any thread.
//
// Any page in a browser on this machine can reach a server on loopback. A page of another origin is refused unless
// --cors-origin names it; a page whose own name resolves to loopback (DNS rebinding) is recognised by Host.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "server/access/origin_pattern.h"
#include "server/http/exchange.h"

namespace quire {

struct OriginOptions {
  bool is_loopback = false;                     // every address listened on is loopback: Host must be too
  std::vector<std::string> allowed_hosts = {};  // further names; if not empty, Host is checked on every address
  std::vector<std::string> cors_origins = {};   // see origin_pattern.h
};

// Whether a name or a literal address in lower case can only be this machine: localhost, 127.0.0.0/8, ::1.
bool is_loopback_name(const std::string& name);

class OriginPolicy {
 public:
  // Throws Error for a malformed origin or host.
  explicit OriginPolicy(OriginOptions options);

  // Throws ApiError 403. Returns the answer to a preflight, nothing for other requests. `reply_headers` gets the fields
  // that let the page's script read the reply.
  std::optional<http::Response> check(const http::Request& request, http::Headers& reply_headers) const;

 private:
  bool is_host_allowed(std::string_view host) const;
  bool is_cors_origin(std::string_view origin) const;
  static bool needs_host(const http::Request& request);

  OriginOptions options_;
  std::vector<OriginPattern> cors_origins_;
};

}  // namespace quire
