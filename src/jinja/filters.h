// The names after `|` and `is`, and the functions every template can call.
#pragma once

#include <string_view>

#include "jinja/value.h"

namespace quire::jinja {

struct Filter {
  std::string_view name;
  Value (*apply)(Runtime& runtime, const Value& value, const Args& args);
};

struct Test {
  std::string_view name;
  bool (*holds)(Runtime& runtime, const Value& value, const Args& args);
};

// Null when there is none of that name.
const Filter* find_filter(std::string_view name);
const Test* find_test(std::string_view name);
// The function of that name (range, namespace, raise_exception ...), or undefined.
Value find_function(Runtime& runtime, std::string_view name);

}  // namespace quire::jinja
