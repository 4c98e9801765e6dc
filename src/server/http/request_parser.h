// Parses HTTP/1.1 requests as strictly as the standard allows: requests that proxies could read differently are
// refused.
//
// Owned by a connection, or fed directly by tests and fuzzing; one thread at a time. It stores no bytes: the caller
// passes everything not yet consumed again.
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
    kHeader,    // request() has everything but the body; returned once per request
    kComplete,  // request() is whole; take it and reset()
    kError,     // problem() says why; the connection must close
  };
  struct Problem {
    int status = 0;
    const char* code = "";
    const char* message = "";
  };

  // Reads from `bytes`, which begin where the previous call stopped; `consumed` is how many were used.
  Progress feed(std::string_view bytes, size_t& consumed);
  // Ready for the next request.
  void reset();

  Request& request();
  const Problem& problem() const;
  // Valid from kHeader on.
  bool is_keep_alive() const;
  bool is_http_1_0() const;
  bool expects_continue() const;
  bool has_body() const;  // and it has not arrived completely

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace quire::http
