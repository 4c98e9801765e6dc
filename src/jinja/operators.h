// Python's operators over Values: truth, comparison, arithmetic, membership, subscripts and iteration.
// Whatever Python would raise becomes Error kInvalidArgument; work and memory are charged to the runtime.
#pragma once

#include <optional>

#include "jinja/ast.h"
#include "jinja/value.h"

namespace quire::jinja {

bool truth(const Value& value);
bool equals(Runtime& runtime, const Value& a, const Value& b);
// a < b. Throws when the types have no order.
bool less(Runtime& runtime, const Value& a, const Value& b);
bool compare(Runtime& runtime, Op op, const Value& a, const Value& b);
bool contains(Runtime& runtime, const Value& container, const Value& item);

Value binary(Runtime& runtime, Op op, const Value& a, const Value& b);
Value negate(Runtime& runtime, const Value& value, bool minus);

// len(value); nullopt when Python has none (numbers, generators).
std::optional<size_t> length(const Value& value);
bool is_iterable(const Value& value);
Iterator* iterate(Runtime& runtime, const Value& value);
std::vector<Value> to_vector(Runtime& runtime, const Value& value);

// value[key] as Python has it, without Jinja's fallback to attributes: nullopt for a missing key or a type that cannot
// be subscripted this way.
std::optional<Value> find_item(Runtime& runtime, const Value& value, const Value& key);
Value slice(Runtime& runtime, const Value& value, const Value& start, const Value& stop, const Value& step);

// HTML escaping as Jinja's Markup does it; markup passes through.
Value escape(Runtime& runtime, const Value& value);

}  // namespace quire::jinja
