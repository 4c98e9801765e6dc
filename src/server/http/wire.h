// Small texts of HTTP. Any thread.
#pragma once

#include <string>
#include <string_view>

namespace quire::http {

std::string_view reason_phrase(int status);
// The time now, in the form of a Date header field.
std::string_view date();
std::string lowered(std::string_view text);  // of ASCII letters
// Resolves escapes such as %2F; false for one that is broken or a control character.
bool percent_decode(std::string_view text, std::string& out);
// Without blanks, tabs and carriage returns at both ends.
std::string_view without_blanks(std::string_view text);
bool equals_ignoring_case(std::string_view a, std::string_view b);
// `offered` when it is a well-formed identity of at most `limit` bytes, otherwise a new one.
std::string request_id(std::string_view offered, size_t limit);

}  // namespace quire::http
