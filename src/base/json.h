// JSON through Boost.JSON, with a depth limit and getters whose errors name the place.
// Any thread; values own their memory.
#pragma once

#include <boost/json.hpp>

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace quire {

namespace json = boost::json;

constexpr size_t kMaxJsonDepth = 256;

// Throws Error kCorrupt with `what` (a file's name, "request body") and the byte where parsing stopped.
json::value parse_json(std::string_view text, std::string_view what, size_t max_depth = kMaxJsonDepth);
json::value read_json_file(const std::filesystem::path& path, size_t max_bytes);

// Typed members of an object. `find_*` give nullptr / fallback when the key is absent or null and throw Error kCorrupt
// naming the key when the type is wrong; `get_*` also throw when it is absent. Integers may be written as 7 or 7.0.
const json::value* find_member(const json::object& object, std::string_view key);
int64_t get_int(const json::object& object, std::string_view key);
int64_t find_int(const json::object& object, std::string_view key, int64_t fallback);
double get_double(const json::object& object, std::string_view key);
double find_double(const json::object& object, std::string_view key, double fallback);
bool find_bool(const json::object& object, std::string_view key, bool fallback);
std::string get_string(const json::object& object, std::string_view key);
std::string find_string(const json::object& object, std::string_view key, std::string_view fallback);
const json::object* find_object(const json::object& object, std::string_view key);
const json::array* find_array(const json::object& object, std::string_view key);

}  // namespace quire
