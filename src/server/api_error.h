// Errors that clients are told, each with its HTTP status. How an API writes them: apis/error_form.h.
//
// The wording of context_length_exceeded is part of the interface: gateways recognise it by text.
#pragma once

#include <optional>
#include <stdexcept>
#include <string>

namespace quire {

// Thrown by access rules, request parsing and handlers; answer_errors() and the listener make replies of it.
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

// Whether the same request may succeed when it is sent again; nothing where the status says enough.
std::optional<bool> repeat_helps(const ApiError& error);

}  // namespace quire
