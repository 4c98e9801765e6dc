// Values as text: Python's str() and repr(), json.dumps, the % operator and str.format.
// Each string of a value keeps its marks; what is written between them is the template's own.
// Nested values are limited in depth and every visited element is charged.
#pragma once

#include <string>
#include <string_view>

#include "jinja/value.h"

namespace quire::jinja {

std::string int_text(Int value);
std::string float_text(double value);  // Python's repr: the shortest digits that round-trip

MarkedText to_text(Runtime& runtime, const Value& value);  // str(value)
MarkedText to_repr(Runtime& runtime, const Value& value);  // repr(value)
Value soft_text(Runtime& runtime, const Value& value);     // a string as it is, with its markup; else str(value)

struct JsonStyle {
  bool ensure_ascii = false;
  bool sort_keys = false;
  bool pretty = false;  // one element a line, indented by `indent`
  std::string indent;
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};
MarkedText to_json(Runtime& runtime, const Value& value, const JsonStyle& style);

Value format_percent(Runtime& runtime, const Value& format, const Value& values);  // format % values
Value format_braces(Runtime& runtime, const Value& format, const Args& args);      // format.format(...)

}  // namespace quire::jinja
