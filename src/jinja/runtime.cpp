#include "jinja/runtime.h"

#include "jinja/operators.h"

namespace quire::jinja {

Value Runtime::string(MarkedText text, bool markup) {
  check_allocation(text.num_bytes());
  charge_bytes(text.num_bytes());
  return Value(std::make_shared<const Text>(std::move(text), markup, this));
}

Value Runtime::own(std::string text) { return string({std::move(text), {}}); }

Value Runtime::keyword(std::string name) {
  MarkedText text{std::move(name), {}};
  text.mark();
  return string(std::move(text));
}

Value Runtime::part(const Value& source, std::string_view piece) {
  MarkedText text;
  source.text().append_to(text, piece);
  return string(std::move(text), source.is_markup());
}

Value Runtime::rewritten(const Value& source, std::string text) {
  MarkedText marked{std::move(text), {}};
  if (!source.text().data.empty()) marked.mark();
  return string(std::move(marked), source.is_markup());
}

Value Runtime::borrowed(std::string_view text, bool is_data) {
  return Value(std::make_shared<const Text>(text, is_data, this));
}

Value Runtime::list(std::vector<Value> items) {
  const size_t bytes = items.capacity() * sizeof(Value);
  check_allocation(bytes);
  charge_items(items.size());
  held_ += bytes;
  return Value(make<Sequence>(ObjectKind::kList, std::move(items)));
}

Value Runtime::tuple(std::vector<Value> items) {
  const size_t bytes = items.capacity() * sizeof(Value);
  check_allocation(bytes);
  charge_items(items.size());
  held_ += bytes;
  return Value(make<Sequence>(ObjectKind::kTuple, std::move(items)));
}

void Runtime::dict_set(Dict& dict, const Value& key, Value value) {
  charge_key(key);
  constexpr size_t kEntryBytes = 4 * sizeof(Value);
  check_allocation(kEntryBytes);
  held_ += kEntryBytes;
  dict.set(key, std::move(value));
}

void Runtime::charge_key(const Value& key) {
  if (!is_hashable(key)) fail("TypeError: unhashable type: '{}'", type_name(key));
  constexpr size_t kComparisons = 16;
  if (key.is_string()) return charge_bytes(kComparisons * key.str().size());
  std::vector<const Value*> open = {&key};
  while (!open.empty()) {
    const Value* part = open.back();
    open.pop_back();
    if (part->is_string()) charge_bytes(kComparisons * part->str().size());
    if (!part->is_object(ObjectKind::kTuple)) continue;
    charge_items(part->items().size());
    for (const Value& item : part->items()) open.push_back(&item);
  }
}

void Runtime::raise(ErrorCode code, const std::string& message) const {
  throw Error(code, fmt::format("{} (chat template, line {})", message, line));
}

void Runtime::require_defined(const Value& value) const {
  if (!value.is_undefined()) return;
  const auto& why = value.undefined().why;
  fail("{}", why == nullptr ? "a value is undefined" : *why);
}

void Runtime::over_limit(const char* what, size_t limit) const {
  raise(ErrorCode::kLimit, fmt::format("the template needs more than {} {}", limit, what));
}

Parameters::Parameters(Runtime& runtime, std::string_view function, const Args& args,
                       std::initializer_list<std::string_view> names, size_t num_required)
    : runtime_(runtime), function_(function), values_(names.size(), nullptr) {
  if (args.positional.size() > names.size()) {
    runtime.fail("TypeError: {}() takes at most {} arguments ({} given)", function, names.size(),
                 args.positional.size());
  }
  for (size_t i = 0; i < args.positional.size(); ++i) values_[i] = &args.positional[i];
  for (const auto& [name, value] : args.named) {
    size_t i = 0;
    while (i < names.size() && names.begin()[i] != name) ++i;
    if (i == names.size() || names.begin()[i].empty()) {
      runtime.fail("TypeError: {}() got an unexpected keyword argument '{}'", function, printable(name));
    }
    if (values_[i] != nullptr) runtime.fail("TypeError: {}() got multiple values for argument '{}'", function, name);
    values_[i] = &value;
  }
  for (size_t i = 0; i < num_required; ++i) {
    if (values_[i] == nullptr) {
      runtime.fail("TypeError: {}() is missing its argument '{}'", function, names.begin()[i]);
    }
  }
}

bool Parameters::flag(size_t i, bool fallback) const { return given(i) ? truth((*this)[i]) : fallback; }

Int Parameters::integer(size_t i, Int fallback) const {
  if (!given(i)) return fallback;
  if (!(*this)[i].is_integral()) {
    runtime_.require_defined((*this)[i]);
    runtime_.fail("TypeError: {}() needs an integer, got '{}'", function_, type_name((*this)[i]));
  }
  return (*this)[i].integer();
}

std::string_view Parameters::text(size_t i, std::string_view fallback) const {
  if (!given(i)) return fallback;
  if (!(*this)[i].is_string()) {
    runtime_.fail("TypeError: {}() needs a string, got '{}'", function_, type_name((*this)[i]));
  }
  return (*this)[i].str();
}

}  // namespace quire::jinja
