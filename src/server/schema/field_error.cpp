#include "server/schema/field_error.h"

#include "base/error.h"

namespace quire {

std::string describe_value(const json::value& value) {
  switch (value.kind()) {
    case json::kind::null: return "null";
    case json::kind::bool_: return value.get_bool() ? "true" : "false";
    case json::kind::string: return fmt::format("\"{}\"", printable(value.get_string(), 40));
    case json::kind::array: return fmt::format("an array of {}", value.get_array().size());
    case json::kind::object: return "an object";
    case json::kind::int64: return fmt::format("{}", value.get_int64());
    case json::kind::uint64: return fmt::format("{}", value.get_uint64());
    case json::kind::double_: return fmt::format("{}", value.get_double());
  }
  return "something else";
}

void refuse_field(const std::string& path, const std::string& message) {
  throw ApiError(400, "invalid_request_error", "", message, path);
}

void refuse_value(const std::string& path, std::string_view expected, const json::value& found) {
  refuse_field(path, fmt::format("'{}' should be {}, found {}", path, expected, describe_value(found)));
}

void refuse_unsupported(const std::string& path, const std::string& message) {
  throw ApiError(400, "invalid_request_error", "not_supported", message, path);
}

}  // namespace quire
