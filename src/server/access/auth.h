// API keys and the identities that they give. Made once; check() from any thread.
//
// Keys are kept as SHA-256 digests only. A presented key is compared with all of them in constant time, a missing one
// as if it were empty, so that the response time reveals nothing.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "server/http/exchange.h"

namespace quire {

class ApiKeys {
 public:
  // `key_file` (may be empty) has one key per line, or name:key; it is reloaded when it changes. Throws Error when it
  // cannot be read or holds no key.
  // `secret`: what tenants are made with; empty: a new one, and tenants differ from one start to the next.
  ApiKeys(const std::vector<std::string>& keys, std::string key_file, const std::string& secret = "");
  ~ApiKeys();

  bool is_required() const;
  // The tenant of a request with a valid key (Authorization: Bearer, x-api-key or api-key), "" when no key is required,
  // nullopt when the key is missing or wrong. The tenant is a keyed digest with the secret: it does not
  // reveal the key.
  std::optional<std::string> check(const http::Request& request);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace quire
