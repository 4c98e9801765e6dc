// What can follow `is`.
#include "jinja/filters.h"
#include "jinja/format.h"
#include "jinja/operators.h"
#include "jinja/runtime.h"
#include "jinja/unicode.h"

namespace quire::jinja {
namespace {

void no_arguments(Runtime& runtime, const Args& args) { const Parameters none(runtime, "test", args, {}); }

Int remainder(Runtime& runtime, const Value& value, const Value& divisor) {
  const Value rest = binary(runtime, Op::kMod, value, divisor);
  if (rest.is_float()) return rest.floating() == 0 ? 0 : (rest.floating() == 1 ? 1 : 2);
  if (!rest.is_integral()) return 2;
  return rest.integer();
}

bool odd(Runtime& runtime, const Value& value, const Args& args) {
  no_arguments(runtime, args);
  return remainder(runtime, value, Value(2)) == 1;
}

bool even(Runtime& runtime, const Value& value, const Args& args) {
  no_arguments(runtime, args);
  return remainder(runtime, value, Value(2)) == 0;
}

bool divisibleby(Runtime& runtime, const Value& value, const Args& args) {
  const Parameters given(runtime, "divisibleby", args, {"num"}, 1);
  return remainder(runtime, value, given[0]) == 0;
}

template <bool (Value::*Is)() const>
bool kind(Runtime& runtime, const Value& value, const Args& args) {
  no_arguments(runtime, args);
  return (value.*Is)();
}

bool defined(Runtime& runtime, const Value& value, const Args& args) {
  no_arguments(runtime, args);
  return !value.is_undefined();
}

template <bool Wanted>
bool boolean_is(Runtime& runtime, const Value& value, const Args& args) {
  no_arguments(runtime, args);
  return value.is_bool() && value.boolean() == Wanted;
}

bool mapping(Runtime& runtime, const Value& value, const Args& args) {
  no_arguments(runtime, args);
  return value.is_object(ObjectKind::kDict);
}

bool sequence(Runtime& runtime, const Value& value, const Args& args) {
  no_arguments(runtime, args);
  return length(value).has_value() && !value.is_object(ObjectKind::kDictView);
}

bool iterable(Runtime& runtime, const Value& value, const Args& args) {
  no_arguments(runtime, args);
  return is_iterable(value) || value.is_object(ObjectKind::kLoop);
}

bool callable(Runtime& runtime, const Value& value, const Args& args) {
  no_arguments(runtime, args);
  return value.is_undefined() || value.is_object(ObjectKind::kCallable) || value.is_object(ObjectKind::kLoop);
}

template <bool Upper>
bool cased(Runtime& runtime, const Value& value, const Args& args) {
  no_arguments(runtime, args);
  const std::string text = to_text(runtime, value).text;
  bool any = false;
  for (size_t at = 0; at < text.size();) {
    const auto [point, num_bytes] = decode_at(text, at);
    if (is_title(point) || (Upper ? is_lower(point) : is_upper(point))) return false;
    any |= Upper ? is_upper(point) : is_lower(point);
    at += num_bytes;
  }
  return any;
}

bool sameas(Runtime& runtime, const Value& value, const Args& args) {
  const Parameters given(runtime, "sameas", args, {"other"}, 1);
  return value.is_same(given[0]);
}

bool in(Runtime& runtime, const Value& value, const Args& args) {
  const Parameters given(runtime, "in", args, {"seq"}, 1);
  return contains(runtime, given[0], value);
}

void require_hashable(Runtime& runtime, const Value& value) {
  if (!is_hashable(value)) runtime.fail("TypeError: unhashable type: '{}'", type_name(value));
}

bool is_filter(Runtime& runtime, const Value& value, const Args& args) {
  no_arguments(runtime, args);
  require_hashable(runtime, value);
  return value.is_string() && find_filter(value.str()) != nullptr;
}

bool is_test(Runtime& runtime, const Value& value, const Args& args) {
  no_arguments(runtime, args);
  require_hashable(runtime, value);
  return value.is_string() && find_test(value.str()) != nullptr;
}

template <Op Operator>
bool compares(Runtime& runtime, const Value& value, const Args& args) {
  const Parameters given(runtime, "comparison", args, {""}, 1);
  return compare(runtime, Operator, value, given[0]);
}

constexpr Test kTests[] = {
    {"!=", compares<Op::kNe>},
    {"<", compares<Op::kLt>},
    {"<=", compares<Op::kLe>},
    {"==", compares<Op::kEq>},
    {">", compares<Op::kGt>},
    {">=", compares<Op::kGe>},
    {"boolean", kind<&Value::is_bool>},
    {"callable", callable},
    {"defined", defined},
    {"divisibleby", divisibleby},
    {"eq", compares<Op::kEq>},
    {"equalto", compares<Op::kEq>},
    {"escaped", kind<&Value::is_markup>},
    {"even", even},
    {"false", boolean_is<false>},
    {"filter", is_filter},
    {"float", kind<&Value::is_float>},
    {"ge", compares<Op::kGe>},
    {"greaterthan", compares<Op::kGt>},
    {"gt", compares<Op::kGt>},
    {"in", in},
    {"integer", kind<&Value::is_int>},
    {"iterable", iterable},
    {"le", compares<Op::kLe>},
    {"lessthan", compares<Op::kLt>},
    {"lower", cased<false>},
    {"lt", compares<Op::kLt>},
    {"mapping", mapping},
    {"ne", compares<Op::kNe>},
    {"none", kind<&Value::is_none>},
    {"number", kind<&Value::is_number>},
    {"odd", odd},
    {"sameas", sameas},
    {"sequence", sequence},
    {"string", kind<&Value::is_string>},
    {"test", is_test},
    {"true", boolean_is<true>},
    {"undefined", kind<&Value::is_undefined>},
    {"upper", cased<true>},
};

}  // namespace

const Test* find_test(std::string_view name) {
  for (const Test& test : kTests) {
    if (test.name == name) return &test;
  }
  return nullptr;
}

}  // namespace quire::jinja
