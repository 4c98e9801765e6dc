// Errors as clients read them: {"error": {"message", "type", "param", "code"}}, each with its HTTP status.
//
// The wording of context_length_exceeded is part of the interface: gateways recognise it by text.
#pragma once

#include <optional>
#include <stdexcept>
#include <string>

#include "server/http/exchange.h"

namespace quire {

// Thrown by request parsing and admission, caught by answer_errors().
class ApiError : public std::runtime_error {
 public:
  ApiError(int status, std::string type, std::string code, const std::string& message, std::string param = "",
           double retry_after_ms = 0.0)
      : std::runtime_error(message),
        status_(status),
        type_(std::move(type)),
        code_(std::move(code)),
        param_(std::move(param)),
        retry_after_ms_(retry_after_ms) {}

  int status() const { return status_; }
  const std::string& type() const { return type_; }
  const std::string& code() const { return code_; }    // empty: null
  const std::string& param() const { return param_; }  // JSON path of the field; empty: null
  double retry_after_ms() const { return retry_after_ms_; }

 private:
  int status_;
  std::string type_;
  std::string code_;
  std::string param_;
  double retry_after_ms_;
};

// Only {"error": ...}, for the body of a reply and for an event of a stream that has begun.
std::string error_json(const ApiError& error);
// Whether the same request may succeed when it is sent again; nothing where the status says enough.
std::optional<bool> repeat_helps(const ApiError& error);
// The reply. Its header fields: x-should-retry where that is known (OpenAI's clients obey it), Retry-After and
// retry-after-ms if a time is known, and Connection: close for `draining`.
http::Response error_response(const ApiError& error);

}  // namespace quire
