// The methods of Python's str.
#pragma once

#include <span>
#include <string_view>

#include "jinja/functions.h"

namespace quire::jinja {

struct MethodEntry {
  std::string_view name;
  Method::Body body;  // null: Python has it, this engine does not
};

std::span<const MethodEntry> string_methods();

// Shared with the filters of the same name. An empty `chars` pointer means white space.
std::string_view strip_chars(std::string_view text, const std::string_view* chars, bool left, bool right);
// Of strings.
MarkedText replace_text(Runtime& runtime, const Value& text, std::string_view old_text, const Value& new_text,
                        Int max_count);
std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends);
Value center_text(Runtime& runtime, const Value& text, Int width, const Value& fill);

}  // namespace quire::jinja
