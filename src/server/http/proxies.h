// Proxies that are trusted to say whose requests they pass on.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "server/http/exchange.h"

namespace quire::http {

// Peers of a Unix socket are always proxies, of TCP those with these addresses.
class Proxies {
 public:
  // Throws Error for what is no address.
  explicit Proxies(std::vector<std::string> addresses);

  bool contains(std::string_view remote) const;
  // The last address of X-Forwarded-For that is no proxy's: each proxy adds its peer, and only what proxies have added
  // can be believed. Requests of other peers are their own, and so are those without such an address.
  std::string client_of(std::string_view remote, const Headers& headers) const;

 private:
  std::vector<std::string> addresses_;
};

}  // namespace quire::http
