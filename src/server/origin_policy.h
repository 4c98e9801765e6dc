// Which web pages may talk to this server, by the Host and Origin header fields. Immutable; any thread.
//
// A browser on this machine reaches a server on loopback for any page it shows. A page of another origin is refused
// unless --cors-origin names it; a page whose own name was made to resolve to loopback (DNS rebinding) shows in Host.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "server/http/exchange.h"

namespace quire {

struct OriginOptions {
  bool is_loopback = false;                     // every address listened on is loopback: Host must be so too
  std::vector<std::string> allowed_hosts = {};  // further names; given ones switch the Host check on everywhere
  std::vector<std::string> cors_origins = {};   // "https://chat.example", or "*"
};

class OriginPolicy {
 public:
  // Throws Error for an origin or a host that cannot be one.
  explicit OriginPolicy(OriginOptions options);

  // A refusal, or the answer to a preflight; nothing lets the request through. `reply_headers` gets what lets the
  // page's script read the reply.
  std::optional<http::Response> check(const http::Request& request, http::Headers& reply_headers) const;

 private:
  bool is_host_allowed(std::string_view host) const;
  bool is_cors_origin(std::string_view origin) const;

  OriginOptions options_;
};

}  // namespace quire
