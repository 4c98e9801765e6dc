#include "base/json.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "base/error.h"
#include "base/mapped_file.h"

namespace quire {
namespace {

[[noreturn]] void wrong_type(std::string_view key, const char* expected, const json::value& found) {
  fail(ErrorCode::kCorrupt, "\"{}\" should be {}, found {}", printable(key), expected,
       printable(json::serialize(found), 60));
}

[[noreturn]] void missing(std::string_view key) { fail(ErrorCode::kCorrupt, "\"{}\" is missing", printable(key)); }

std::optional<int64_t> as_int(const json::value& value) {
  if (value.is_int64()) return value.get_int64();
  if (value.is_double()) {
    const double number = value.get_double();
    if (std::nearbyint(number) == number && std::abs(number) < 9.0e15) return static_cast<int64_t>(number);
  }
  return std::nullopt;
}

// Whether an escape of half a surrogate pair begins at `at`: of the first half, of 8 to b, or of the second.
bool is_half_a_pair(std::string_view text, size_t at, std::string_view digits) {
  const auto lower = [](char c) { return static_cast<char>(c | 0x20); };
  return text.size() - at >= 4 && text.substr(at, 2) == "\\u" && lower(text[at + 2]) == 'd' &&
         digits.find(lower(text[at + 3])) != std::string_view::npos;
}

// Whether the text that was read ends in an escape of half a surrogate pair whose other half is not there.
bool ends_in_half_a_pair(std::string_view text) {
  constexpr size_t kEscapeBytes = 6;  // \\uD800
  const size_t at = text.rfind("\\u");
  if (at == std::string_view::npos || text.size() - at > 2 * kEscapeBytes) return false;
  constexpr std::string_view kFirst = "89ab";
  if (is_half_a_pair(text, at, kFirst)) return true;
  const bool is_whole = at >= kEscapeBytes && is_half_a_pair(text, at - kEscapeBytes, kFirst);
  return is_half_a_pair(text, at, "cdef") && !is_whole;
}

// The library's own word for most of these is "syntax error".
std::string describe_problem(std::string_view text, size_t consumed, const boost::system::error_code& error) {
  if (error == json::error::incomplete) return text.empty() ? "it is empty" : error.message();
  if (error == json::error::illegal_trailing_surrogate || ends_in_half_a_pair(text.substr(0, consumed + 1))) {
    return "an escape is half of a surrogate pair (\\ud800 to \\udfff) and its other half is missing";
  }
  const std::string_view rest = text.substr(std::min(consumed, text.size()));
  if (rest.starts_with("NaN") || rest.starts_with("Infinity") || rest.starts_with("-Infinity")) {
    return "NaN and Infinity are no JSON numbers";
  }
  const int byte = rest.empty() ? ' ' : static_cast<unsigned char>(rest[0]);
  if (byte >= 0x80) return fmt::format("the byte \\x{:02x} is outside a string, or the string is not UTF-8", byte);
  if (byte < 0x20) {
    return fmt::format("the control character \\x{:02x} cannot stand there; in a string, write it as an escape", byte);
  }
  return error.message();
}

}  // namespace

json::value parse_json(std::string_view text, std::string_view what, size_t max_depth) {
  json::parse_options options;
  options.max_depth = max_depth;
  json::stream_parser parser({}, options);
  boost::system::error_code error;
  const size_t consumed = parser.write_some(text.data(), text.size(), error);
  if (!error && consumed < text.size()) error = json::error::extra_data;
  if (!error) parser.finish(error);
  if (error) {
    fail(ErrorCode::kCorrupt, "{} is not valid JSON: {} near byte {}", what, describe_problem(text, consumed, error),
         consumed);
  }
  return parser.release();
}

json::value read_json_file(const std::filesystem::path& path, size_t max_bytes) {
  return parse_json(read_text_file(path, max_bytes), path.string());
}

const json::value* find_member(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  return value == nullptr || value->is_null() ? nullptr : value;
}

int64_t get_int(const json::object& object, std::string_view key) {
  const json::value* value = find_member(object, key);
  if (value == nullptr) missing(key);
  const auto number = as_int(*value);
  if (!number) wrong_type(key, "an integer", *value);
  return *number;
}

int64_t find_int(const json::object& object, std::string_view key, int64_t fallback) {
  return find_member(object, key) == nullptr ? fallback : get_int(object, key);
}

double get_double(const json::object& object, std::string_view key) {
  const json::value* value = find_member(object, key);
  if (value == nullptr) missing(key);
  if (!value->is_number()) wrong_type(key, "a number", *value);
  return value->to_number<double>();
}

double find_double(const json::object& object, std::string_view key, double fallback) {
  return find_member(object, key) == nullptr ? fallback : get_double(object, key);
}

bool find_bool(const json::object& object, std::string_view key, bool fallback) {
  const json::value* value = find_member(object, key);
  if (value == nullptr) return fallback;
  if (!value->is_bool()) wrong_type(key, "true or false", *value);
  return value->get_bool();
}

std::string get_string(const json::object& object, std::string_view key) {
  const json::value* value = find_member(object, key);
  if (value == nullptr) missing(key);
  if (!value->is_string()) wrong_type(key, "a string", *value);
  return std::string(value->get_string());
}

std::string find_string(const json::object& object, std::string_view key, std::string_view fallback) {
  return find_member(object, key) == nullptr ? std::string(fallback) : get_string(object, key);
}

const json::object* find_object(const json::object& object, std::string_view key) {
  const json::value* value = find_member(object, key);
  if (value == nullptr) return nullptr;
  if (!value->is_object()) wrong_type(key, "an object", *value);
  return &value->get_object();
}

const json::array* find_array(const json::object& object, std::string_view key) {
  const json::value* value = find_member(object, key);
  if (value == nullptr) return nullptr;
  if (!value->is_array()) wrong_type(key, "an array", *value);
  return &value->get_array();
}

}  // namespace quire
