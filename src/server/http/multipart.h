// Bodies of multipart/form-data (RFC 7578). Pure functions, any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace quire::http {

struct FormPart {
  std::string name;
  std::string file_name;  // empty: not a file
  std::string_view content;
};

// Views of `body`. Nothing for a body that is not what the content type says, and for more than `max_parts` parts.
std::optional<std::vector<FormPart>> parse_form(std::string_view content_type, std::string_view body,
                                                size_t max_parts = 16);

}  // namespace quire::http
