// The `attribute` argument of filters: "a.b.0" walks items and attributes, an integer is an index.
#pragma once

#include <optional>
#include <vector>

#include "jinja/runtime.h"

namespace quire::jinja {

class AttributePath {
 public:
  AttributePath() = default;  // the item itself
  AttributePath(Runtime& runtime, const Value& attribute);
  // `fallback`, when given, replaces an undefined value at any step.
  Value get(Runtime& runtime, Value item, const std::optional<Value>& fallback = std::nullopt) const;

 private:
  std::vector<Value> steps_;
};

// Python's str.lower for strings, other values as they are: how filters compare without case.
Value without_case(Runtime& runtime, const Value& value);

}  // namespace quire::jinja
