// Writes JSON piece by piece, for output once per token. Pure functions, any thread.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace quire {

// With quotes; `text` is valid UTF-8.
void append_json_string(std::string& out, std::string_view text);
// The shortest digits that read back as the same number, so equal floats are written equally. Numbers that JSON lacks
// become the number nearest to their meaning: -inf is -9999, as in other servers.
void append_json_number(std::string& out, float number);
void append_json_number(std::string& out, double number);
void append_json_number(std::string& out, int64_t number);
void append_json_numbers(std::string& out, std::span<const float> numbers);  // a list

inline std::string json_string(std::string_view text) {
  std::string out;
  append_json_string(out, text);
  return out;
}

}  // namespace quire
