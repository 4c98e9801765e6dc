// HTTP/1.1 requests out of bytes, as strictly as the standard allows: what proxies could read differently is refused.
//
// Owned by a connection, or fed directly by tests and fuzzing; one thread at a time. It keeps no bytes of its own: the
// caller offers everything not yet consumed again.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "server/http/exchange.h"
#include "server/limits.h"

namespace quire::http {

class RequestParser {
 public:
  explicit RequestParser(const Limits& limits);
  ~RequestParser();

  enum class Progress : uint8_t {
    kMore,      // more bytes are needed
    kHeader,    // request() has everything but the body; told once for each request
    kComplete,  // request() is whole; take it and reset()
    kError,     // problem() tells; the connection cannot go on
  };
  struct Problem {
    int status = 0;
    const char* code = "";
    const char* message = "";
  };

  // Reads from `bytes`, which begin where the call before stopped; `consumed` tells how many were used.
  Progress feed(std::string_view bytes, size_t& consumed);
  // Ready for the next request.
  void reset();

  Request& request();
  const Problem& problem() const;
  // Valid from kHeader on.
  bool is_keep_alive() const;
  bool is_http_1_0() const;
  bool expects_continue() const;
  bool has_body() const;  // of which some is still to come

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace quire::http
