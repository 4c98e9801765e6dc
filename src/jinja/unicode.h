// Text as Python sees it: code points over UTF-8 bytes, Unicode case mappings and character classes.
// Pure functions, any thread. Malformed UTF-8 never fails: a byte that starts no valid sequence counts as one code
// point.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace quire::jinja {

struct CodePoint {
  char32_t value;
  size_t num_bytes;  // 1..4
};

// The code point at byte `at` (which must be inside `text`).
CodePoint decode_at(std::string_view text, size_t at);
void append_utf8(std::string& out, char32_t point);
size_t count_points(std::string_view text);
// Byte offset of the code point with this index; text.size() when the text is shorter.
size_t point_offset(std::string_view text, size_t index);

bool is_space(char32_t point);  // str.isspace, also what str.strip() and the regular expression \s mean
bool is_line_break(char32_t point);
bool is_alpha(char32_t point);
bool is_decimal(char32_t point);
bool is_digit(char32_t point);
bool is_numeric(char32_t point);
bool is_lower(char32_t point);
bool is_upper(char32_t point);
bool is_title(char32_t point);
bool is_printable(char32_t point);
bool is_word(char32_t point);  // the regular expression \w

// text.find in linear time whatever the two hold: the standard library's can take the product of their sizes.
size_t find_text(std::string_view text, std::string_view sought, size_t from = 0);

std::string_view strip_space(std::string_view text, bool left, bool right);

std::string to_upper(std::string_view text);
std::string to_lower(std::string_view text);
std::string to_title(std::string_view text);        // every word: str.title
std::string to_capitalized(std::string_view text);  // first letter only: str.capitalize
std::string to_swapped(std::string_view text);
std::string to_folded(std::string_view text);

}  // namespace quire::jinja
