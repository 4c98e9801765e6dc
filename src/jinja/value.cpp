#include "jinja/value.h"

#include <cmath>

#include "jinja/runtime.h"
#include "jinja/unicode.h"

namespace quire::jinja {
namespace {

constexpr size_t kIndexedDictSize = 16;

// Exact comparison of an integer with a finite or infinite double.
int compare_int_double(Int a, double b) {
  if (b >= 0x1p127) return -1;
  if (b < -0x1p127) return 1;
  const Int whole = static_cast<Int>(b);
  if (a != whole) return a < whole ? -1 : 1;
  const double rest = b - static_cast<double>(whole);
  return rest > 0 ? -1 : (rest < 0 ? 1 : 0);
}

int rank(const Value& value) {
  if (value.is_undefined()) return 0;
  if (value.is_none()) return 1;
  if (value.is_number()) return value.is_float() && std::isnan(value.floating()) ? 2 : 3;
  if (value.is_string()) return 4;
  if (value.is_object(ObjectKind::kTuple)) return 5;
  return 6;
}

size_t held_bytes(const MarkedText& text) { return text.text.capacity() + text.data.capacity() * sizeof(TextSpan); }

}  // namespace

Text::Text(MarkedText text, bool is_markup, Runtime* runtime)
    : owned(std::move(text)),
      view(owned.text),
      data(owned.data),
      num_points(count_points(view)),
      markup(is_markup),
      accounts(runtime) {
  if (accounts != nullptr) accounts->hold_text(held_bytes(owned));
}

Text::Text(std::string_view borrowed, bool is_data, Runtime* runtime)
    : whole{0, borrowed.size()}, view(borrowed), num_points(count_points(borrowed)), accounts(runtime) {
  if (is_data && !borrowed.empty()) data = {&whole, 1};
  if (accounts != nullptr) accounts->hold_text(held_bytes(owned));
}

Text::~Text() {
  if (accounts != nullptr) accounts->release_text(held_bytes(owned));
}

bool Text::has_data(std::string_view part) const {
  MarkedText marked;
  append_to(marked, part);
  return !marked.data.empty();
}

const std::vector<Value>& Value::items() const { return static_cast<const Sequence*>(object())->items; }

bool Value::is_same(const Value& other) const {
  if (data_.index() != other.data_.index()) return false;
  if (is_undefined()) return false;
  if (is_none()) return true;
  if (is_bool()) return boolean() == other.boolean();
  if (is_int()) return integer() == other.integer();
  if (is_float()) return floating() == other.floating();
  if (is_string()) return &text() == &other.text() || str() == other.str();
  return object() == other.object();
}

bool KeyLess::operator()(const Value& a, const Value& b) const {
  const int rank_a = rank(a);
  const int rank_b = rank(b);
  if (rank_a != rank_b) return rank_a < rank_b;
  switch (rank_a) {
    case 3:
      if (a.is_float() && b.is_float()) return a.floating() < b.floating();
      if (a.is_float()) return compare_int_double(b.integer(), a.floating()) > 0;
      if (b.is_float()) return compare_int_double(a.integer(), b.floating()) < 0;
      return a.integer() < b.integer();
    case 4: return a.str() < b.str();
    case 5: {
      const auto& left = a.items();
      const auto& right = b.items();
      for (size_t i = 0; i < left.size() && i < right.size(); ++i) {
        if ((*this)(left[i], right[i])) return true;
        if ((*this)(right[i], left[i])) return false;
      }
      return left.size() < right.size();
    }
    case 6: return std::less<>()(a.object(), b.object());
    default: return false;
  }
}

const Value* Dict::find(const Value& key) const {
  if (!index_.empty()) {
    const auto found = index_.find(key);
    return found == index_.end() ? nullptr : &entries[found->second].second;
  }
  const KeyLess less;
  for (const auto& [entry_key, value] : entries) {
    if (!less(entry_key, key) && !less(key, entry_key)) return &value;
  }
  return nullptr;
}

void Dict::set(const Value& key, Value value) {
  if (const Value* old = find(key)) {
    *const_cast<Value*>(old) = std::move(value);
    return;
  }
  entries.emplace_back(key, std::move(value));
  if (!index_.empty()) {
    index_.emplace(key, entries.size() - 1);
  } else if (entries.size() == kIndexedDictSize) {
    for (size_t i = 0; i < entries.size(); ++i) index_.emplace(entries[i].first, i);
  }
}

size_t Range::length() const {
  if (step > 0) return start < stop ? static_cast<size_t>((stop - start - 1) / step + 1) : 0;
  return start > stop ? static_cast<size_t>((start - stop - 1) / -step + 1) : 0;
}

Value Callable::attribute(Runtime& runtime, std::string_view attribute_name) {
  return runtime.undefined("'{}' has no attribute '{}'", description(), attribute_name);
}

std::string Callable::description() const { return "<function " + name + ">"; }

const char* type_name(const Value& value) {
  if (value.is_undefined()) return "Undefined";
  if (value.is_none()) return "NoneType";
  if (value.is_bool()) return "bool";
  if (value.is_int()) return "int";
  if (value.is_float()) return "float";
  if (value.is_string()) return value.is_markup() ? "Markup" : "str";
  switch (value.object()->kind) {
    case ObjectKind::kList: return "list";
    case ObjectKind::kTuple: return "tuple";
    case ObjectKind::kDict: return "dict";
    case ObjectKind::kDictView: {
      constexpr const char* kNames[] = {"dict_keys", "dict_values", "dict_items"};
      return kNames[static_cast<int>(value.as<DictView>()->part)];
    }
    case ObjectKind::kRange: return "range";
    case ObjectKind::kIterator: return "generator";
    case ObjectKind::kNamespace: return "Namespace";
    case ObjectKind::kCallable: return "function";
    case ObjectKind::kLoop: return "LoopContext";
    case ObjectKind::kCycler: return "Cycler";
    case ObjectKind::kScope: return "scope";
  }
  return "object";
}

bool is_hashable(const Value& value) {
  // Comparing keys is not charged to a budget, so a tuple may be a key only if it is small, nested values included.
  constexpr size_t kMaxTupleParts = 1000;
  std::vector<const Value*> open = {&value};
  for (size_t num_seen = 0; !open.empty(); ++num_seen) {
    const Value* part = open.back();
    open.pop_back();
    if (part->is_object(ObjectKind::kList) || part->is_object(ObjectKind::kDict)) return false;
    if (!part->is_object(ObjectKind::kTuple)) continue;
    if (num_seen + open.size() + part->items().size() > kMaxTupleParts) return false;
    for (const Value& item : part->items()) open.push_back(&item);
  }
  return true;
}

}  // namespace quire::jinja
