// Refusals of request fields: each names the field by its JSON path, says what was found and what is allowed.
// Pure functions, any thread.
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>

#include "base/json.h"
#include "server/api_error.h"

namespace quire {

// 400 invalid_request_error.
[[noreturn]] void refuse_field(const std::string& path, const std::string& message);
// 400 invalid_request_error: `expected` reads like "an integer from 1 to 128".
[[noreturn]] void refuse_value(const std::string& path, std::string_view expected, const json::value& found);
// 400 not_supported: well formed, but this build would have to ignore the field.
[[noreturn]] void refuse_unsupported(const std::string& path, const std::string& message);

// A value in a form safe for messages: short, without control characters.
std::string describe_value(const json::value& value);

inline std::string at(std::string_view path, size_t index) { return fmt::format("{}[{}]", path, index); }
inline std::string at(std::string_view path, std::string_view key) { return fmt::format("{}.{}", path, key); }

}  // namespace quire
