// Attribute and item access with Jinja's fallbacks: `a.b` prefers Python's attributes (methods), `a['b']` prefers
// items. Python's internals do not exist here; methods that would change a list or a dict are refused when called.
#pragma once

#include <string_view>

#include "jinja/value.h"

namespace quire::jinja {

// Both give an undefined value when there is neither an attribute nor an item.
Value get_attribute(Runtime& runtime, const Value& value, std::string_view name);
Value get_item(Runtime& runtime, const Value& value, const Value& key);

}  // namespace quire::jinja
