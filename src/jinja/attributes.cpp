#include "jinja/attributes.h"

#include <algorithm>
#include <cmath>
#include <span>

#include "jinja/functions.h"
#include "jinja/loop.h"
#include "jinja/operators.h"
#include "jinja/runtime.h"
#include "jinja/string_methods.h"

namespace quire::jinja {
namespace {

Value dict_get(Runtime& runtime, const Value& self, Args& args) {
  const Parameters given(runtime, "get", args, {"", ""}, 1);
  runtime.charge_key(given[0]);
  const Value* found = self.as<Dict>()->find(given[0]);
  if (found != nullptr) return *found;
  return given.given(1) ? given[1] : Value(None{});
}

template <DictView::Part Part>
Value dict_view(Runtime& runtime, const Value& self, Args& args) {
  const Parameters none(runtime, "dict method", args, {});
  return Value(runtime.make<DictView>(self.as<Dict>(), Part));
}

Value dict_copy(Runtime& runtime, const Value& self, Args& args) {
  const Parameters none(runtime, "copy", args, {});
  auto* copy = runtime.make<Dict>();
  runtime.charge_items(self.as<Dict>()->entries.size());
  for (const auto& [key, value] : self.as<Dict>()->entries) runtime.dict_set(*copy, key, value);
  return Value(copy);
}

Value sequence_count(Runtime& runtime, const Value& self, Args& args) {
  const Parameters given(runtime, "count", args, {""}, 1);
  const auto& items = self.items();
  return Value(static_cast<Int>(std::count_if(items.begin(), items.end(), [&](const Value& item) {
    return item.is_same(given[0]) || equals(runtime, item, given[0]);
  })));
}

Value sequence_index(Runtime& runtime, const Value& self, Args& args) {
  const Parameters given(runtime, "index", args, {"", "", ""}, 1);
  const Int size = static_cast<Int>(self.items().size());
  const auto bound = [&](size_t i, Int fallback) {
    const Int index = given.integer(i, fallback);
    return std::clamp<Int>(index < 0 ? index + size : index, 0, size);
  };
  const Int end = bound(2, size);
  for (Int i = bound(1, 0); i < end; ++i) {
    const Value& item = self.items()[static_cast<size_t>(i)];
    if (item.is_same(given[0]) || equals(runtime, item, given[0])) return Value(i);
  }
  runtime.fail("ValueError: the value is not in the {}", type_name(self));
}

Value list_copy(Runtime& runtime, const Value& self, Args& args) {
  const Parameters none(runtime, "copy", args, {});
  return runtime.list(self.items());
}

Value float_is_integer(Runtime&, const Value& self, Args&) {
  return Value(std::isfinite(self.floating()) && self.floating() == std::trunc(self.floating()));
}

Value integer_bit_length(Runtime&, const Value& self, Args&) {
  Int bits = 0;
  for (Int rest = self.integer(); rest != 0; rest /= 2) ++bits;
  return Value(bits);
}

Value cycler_next(Runtime&, const Value& self, Args&) {
  auto* cycler = self.as<Cycler>();
  const Value item = cycler->items[cycler->at];
  cycler->at = (cycler->at + 1) % cycler->items.size();
  return item;
}

Value cycler_reset(Runtime&, const Value& self, Args&) {
  self.as<Cycler>()->at = 0;
  return Value(None{});
}

constexpr MethodEntry kDictMethods[] = {
    {"copy", dict_copy},
    {"fromkeys", nullptr},
    {"get", dict_get},
    {"items", dict_view<DictView::Part::kItems>},
    {"keys", dict_view<DictView::Part::kKeys>},
    {"values", dict_view<DictView::Part::kValues>},
};
constexpr MethodEntry kListMethods[] = {{"copy", list_copy}, {"count", sequence_count}, {"index", sequence_index}};
constexpr MethodEntry kTupleMethods[] = {{"count", sequence_count}, {"index", sequence_index}};
constexpr MethodEntry kIntMethods[] = {
    {"as_integer_ratio", nullptr}, {"bit_count", nullptr},  {"bit_length", integer_bit_length},
    {"conjugate", nullptr},        {"from_bytes", nullptr}, {"to_bytes", nullptr}};
constexpr MethodEntry kFloatMethods[] = {{"as_integer_ratio", nullptr},
                                         {"conjugate", nullptr},
                                         {"fromhex", nullptr},
                                         {"hex", nullptr},
                                         {"is_integer", float_is_integer}};
constexpr MethodEntry kCyclerMethods[] = {{"next", cycler_next}, {"reset", cycler_reset}};

// Methods that would change a value: they do not count as attributes, and calling one is an error.
constexpr std::string_view kDictChanges[] = {"clear", "pop", "popitem", "setdefault", "update"};
constexpr std::string_view kListChanges[] = {"append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort"};

std::span<const MethodEntry> methods_of(const Value& value) {
  if (value.is_string()) return string_methods();
  if (value.is_integral()) return kIntMethods;
  if (value.is_float()) return kFloatMethods;
  if (value.is_object(ObjectKind::kDict)) return kDictMethods;
  if (value.is_object(ObjectKind::kList)) return kListMethods;
  if (value.is_object(ObjectKind::kTuple)) return kTupleMethods;
  if (value.is_object(ObjectKind::kCycler)) return kCyclerMethods;
  return {};
}

std::span<const std::string_view> changes_of(const Value& value) {
  if (value.is_object(ObjectKind::kDict)) return kDictChanges;
  if (value.is_object(ObjectKind::kList)) return kListChanges;
  return {};
}

Value missing(Runtime& runtime, const Value& value, std::string_view name) {
  if (value.is_none()) return runtime.undefined("'None' has no attribute '{}'", printable(name));
  return runtime.undefined("'{} object' has no attribute '{}'", type_name(value), printable(name));
}

std::optional<Value> plain_attribute(Runtime& runtime, const Value& value, std::string_view name) {
  if (value.is_number()) {
    if (name == "real") return value.is_bool() ? Value(value.integer()) : value;
    if (name == "imag") return value.is_float() ? Value(0.0) : Value(0);
    if (value.is_integral() && name == "numerator") return Value(value.integer());
    if (value.is_integral() && name == "denominator") return Value(1);
  }
  if (const auto* range = value.as<Range>()) {
    if (name == "start") return Value(range->start);
    if (name == "stop") return Value(range->stop);
    if (name == "step") return Value(range->step);
  }
  if (const auto* cycler = value.as<Cycler>(); cycler != nullptr && name == "current") return cycler->items[cycler->at];
  if (auto* callable = value.as<Callable>()) return callable->attribute(runtime, name);
  if (auto* loop = value.as<Loop>()) return loop->attribute(runtime, name);
  if (auto* space = value.as<Namespace>()) {
    const Value* found = space->attributes.find(runtime.borrowed(name, false));
    return found == nullptr ? missing(runtime, value, name) : *found;
  }
  return std::nullopt;
}

// A Python attribute of the value: a method, or one of the few plain attributes.
std::optional<Value> find_attribute(Runtime& runtime, const Value& value, std::string_view name) {
  for (const std::string_view change : changes_of(value)) {
    if (change == name) {
      return runtime.undefined("SecurityError: '{}' would change a {}, which templates must not", name,
                               type_name(value));
    }
  }
  for (const MethodEntry& method : methods_of(value)) {
    if (method.name != name) continue;
    const auto unsupported = [](Runtime& where, const Value& self, Args&) -> Value {
      where.raise(ErrorCode::kUnsupported, fmt::format("a method of '{}' that this engine lacks", type_name(self)));
    };
    return Value(runtime.make<Method>(std::string(name), value, method.body != nullptr ? method.body : unsupported));
  }
  return plain_attribute(runtime, value, name);
}

bool is_internal(std::string_view name) { return name.size() > 4 && name.starts_with("__") && name.ends_with("__"); }

Value unsafe(Runtime& runtime, const Value& value, std::string_view name) {
  return runtime.undefined("SecurityError: access to attribute '{}' of '{}' object is unsafe", printable(name),
                           type_name(value));
}

}  // namespace

Value get_attribute(Runtime& runtime, const Value& value, std::string_view name) {
  runtime.require_defined(value);
  if (const auto attribute = find_attribute(runtime, value, name)) return *attribute;
  if (const auto* dict = value.as<Dict>()) {
    if (const Value* found = dict->find(runtime.borrowed(name, false))) return *found;
  }
  return is_internal(name) ? unsafe(runtime, value, name) : missing(runtime, value, name);
}

Value get_item(Runtime& runtime, const Value& value, const Value& key) {
  runtime.require_defined(value);
  if (const auto item = find_item(runtime, value, key)) return *item;
  if (key.is_string()) {
    if (const auto attribute = find_attribute(runtime, value, key.str())) return *attribute;
    return is_internal(key.str()) ? unsafe(runtime, value, key.str()) : missing(runtime, value, key.str());
  }
  return runtime.undefined("{} object has no such element", type_name(value));
}

}  // namespace quire::jinja
