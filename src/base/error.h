// The one exception type of Quire, for operations that cannot be done: a bad file, a bad request, an unknown model.
//
// A message says what was found, what was expected and what to do. Thrown anywhere, caught only at thread and main
// boundaries. Expected outcomes (no free block, queue full) are return values, programmers' errors are CHECKs.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace quire {

enum class ErrorCode {
  kInvalidArgument,  // the caller's value is wrong
  kNotFound,         // the named thing does not exist
  kUnsupported,      // well formed, but not supported by this build
  kCorrupt,          // a file contradicts itself or its format
  kOutOfMemory,      // does not fit the memory that is allowed
  kIo,               // the operating system refused
  kLimit,            // a limit of Quire's own was reached
};

const char* name(ErrorCode code);

class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ErrorCode code() const { return code_; }

 private:
  ErrorCode code_;
};

// Throws Error with a formatted message.
template <typename... Args>
[[noreturn]] void fail(ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(code, fmt::format(format, std::forward<Args>(args)...));
}

// Text from outside made safe for a message: control characters escaped, cut at `limit` bytes.
std::string printable(std::string_view text, size_t limit = 120);

}  // namespace quire
