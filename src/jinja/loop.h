// The `loop` variable of a for statement. It also drives the statement: it returns the items one at a time and looks
// ahead only when a template asks for it.
#pragma once

#include <optional>
#include <string_view>

#include "jinja/value.h"

namespace quire::jinja {

struct Loop : Object {
  static constexpr ObjectKind kKind = ObjectKind::kLoop;
  Loop(Value over, Iterator* items, bool filtered, int nesting)
      : Object(kKind), source(std::move(over)), iterator(items), is_filtered(filtered), depth0(nesting) {}

  // Moves to the next item; false at the end.
  bool advance(Runtime& runtime);
  Value attribute(Runtime& runtime, std::string_view name);
  size_t length(Runtime& runtime);

  Value source;
  Iterator* iterator;
  bool is_filtered;
  int depth0;
  Callable* recurse = nullptr;  // loop(items), in a recursive loop
  Int index0 = -1;
  Value current;
  Value before;
  std::optional<Value> after;  // read ahead
  std::optional<size_t> known_length;
  std::optional<Value> last_changed;
};

}  // namespace quire::jinja
