// Filters over whole sequences: order, size, pieces, aggregates.
#include <algorithm>
#include <set>

#include "jinja/attribute_path.h"
#include "jinja/attributes.h"
#include "jinja/filter_tables.h"
#include "jinja/operators.h"
#include "jinja/unicode.h"

namespace quire::jinja {
namespace {

Value count(Runtime& runtime, const Value& value, const Args& args) {
  const Parameters none(runtime, "length", args, {});
  const auto size = length(value);
  if (!size) runtime.fail("TypeError: object of type '{}' has no len()", type_name(value));
  return Value(*size);
}

Value list(Runtime& runtime, const Value& value, const Args& args) {
  const Parameters none(runtime, "list", args, {});
  return runtime.list(to_vector(runtime, value));
}

Value first(Runtime& runtime, const Value& value, const Args& args) {
  const Parameters none(runtime, "first", args, {});
  Value item;
  if (iterate(runtime, value)->next(runtime, item)) return item;
  return runtime.undefined("No first item, sequence was empty.");
}

bool is_reversible(const Value& value) {
  const auto* view = value.as<DictView>();
  return value.is_undefined() || value.is_string() || value.is_sequence() || value.is_object(ObjectKind::kDict) ||
         value.is_object(ObjectKind::kRange) || view != nullptr;
}

Value last(Runtime& runtime, const Value& value, const Args& args) {
  const Parameters none(runtime, "last", args, {});
  if (!is_reversible(value)) runtime.fail("TypeError: '{}' object is not reversible", type_name(value));
  if (*length(value) == 0) return runtime.undefined("No last item, sequence was empty.");
  const bool indexed = value.is_string() || value.is_sequence() || value.is_object(ObjectKind::kRange);
  if (indexed && !value.is_markup()) return *find_item(runtime, value, Value(-1));
  return to_vector(runtime, value).back();
}

class Items : public Iterator {
 public:
  explicit Items(std::vector<Value> items) : items_(std::move(items)) {}
  bool next(Runtime&, Value& out) override {
    if (at_ >= items_.size()) return false;
    out = items_[at_++];
    return true;
  }

 private:
  std::vector<Value> items_;
  size_t at_ = 0;
};

Value reverse(Runtime& runtime, const Value& value, const Args& args) {
  const Parameters none(runtime, "reverse", args, {});
  if (value.is_string()) return slice(runtime, value, Value(None{}), Value(None{}), Value(-1));
  if (!is_iterable(value)) runtime.fail("the argument of reverse must be iterable");
  std::vector<Value> items = to_vector(runtime, value);
  std::reverse(items.begin(), items.end());
  runtime.charge_items(items.size());
  if (value.is_object(ObjectKind::kIterator)) return runtime.list(std::move(items));
  return Value(runtime.make<Items>(std::move(items)));
}

// Keys for every item of a sort: one path, or several separated by commas.
class SortKey {
 public:
  SortKey(Runtime& runtime, const Parameters& given, size_t attribute_index, bool ignore_case, bool many)
      : ignore_case_(ignore_case) {
    if (!given.given_not_none(attribute_index)) {
      paths_.emplace_back();
      return;
    }
    const Value& attribute = given[attribute_index];
    std::string_view names = attribute.is_string() ? attribute.str() : std::string_view();
    if (!many || names.find(',') == std::string_view::npos) {
      paths_.emplace_back(runtime, attribute);
      return;
    }
    for (size_t comma = 0; comma != std::string_view::npos; names.remove_prefix(std::min(comma + 1, names.size()))) {
      comma = names.find(',');
      paths_.emplace_back(runtime, runtime.part(attribute, names.substr(0, comma)));
      if (comma == std::string_view::npos) break;
    }
  }

  Value of(Runtime& runtime, const Value& item) const {
    std::vector<Value> keys;
    for (const AttributePath& path : paths_) {
      const Value key = path.get(runtime, item);
      keys.push_back(ignore_case_ ? without_case(runtime, key) : key);
    }
    return keys.size() == 1 ? keys[0] : runtime.tuple(std::move(keys));
  }

 private:
  std::vector<AttributePath> paths_;
  bool ignore_case_;
};

using Keyed = std::pair<Value, Value>;  // key, item

// Elements with equal keys stay in order, as in Python. Equality is tested before `<`, as for Python's tuple keys, so
// that undefined values can be sorted among themselves.
bool key_less(Runtime& runtime, const Value& a, const Value& b, bool as_tuple) {
  if (as_tuple && (a.is_same(b) || equals(runtime, a, b))) return false;
  return less(runtime, a, b);
}

std::vector<Keyed> with_keys(Runtime& runtime, const Value& value, const SortKey& key) {
  std::vector<Keyed> keyed;
  for (Value& item : to_vector(runtime, value)) {
    Value item_key = key.of(runtime, item);
    keyed.emplace_back(std::move(item_key), std::move(item));
  }
  return keyed;
}

void sort_keyed(Runtime& runtime, std::vector<Keyed>& keyed, bool descending, bool as_tuple) {
  if (descending) std::reverse(keyed.begin(), keyed.end());
  std::stable_sort(keyed.begin(), keyed.end(),
                   [&](const Keyed& a, const Keyed& b) { return key_less(runtime, a.first, b.first, as_tuple); });
  if (descending) std::reverse(keyed.begin(), keyed.end());
}

Value items_of(Runtime& runtime, std::vector<Keyed> keyed) {
  std::vector<Value> items;
  items.reserve(keyed.size());
  for (Keyed& entry : keyed) items.push_back(std::move(entry.second));
  return runtime.list(std::move(items));
}

Value sort(Runtime& runtime, const Value& value, const Args& args) {
  const Parameters given(runtime, "sort", args, {"reverse", "case_sensitive", "attribute"});
  const SortKey key(runtime, given, 2, !given.flag(1, false), true);
  std::vector<Keyed> keyed = with_keys(runtime, value, key);
  sort_keyed(runtime, keyed, given.integer(0, 0) != 0, true);
  return items_of(runtime, std::move(keyed));
}

Value dictsort(Runtime& runtime, const Value& value, const Args& args) {
  const Parameters given(runtime, "dictsort", args, {"case_sensitive", "by", "reverse"});
  const std::string_view by = given.text(1, "key");
  if (by != "key" && by != "value") runtime.fail("You can only sort by either \"key\" or \"value\"");
  runtime.require_defined(value);
  const auto* dict = value.as<Dict>();
  if (dict == nullptr) runtime.fail("AttributeError: '{}' object has no attribute 'items'", type_name(value));
  std::vector<Keyed> keyed;
  for (const auto& [key, item] : dict->entries) {
    const Value& sort_key = by == "key" ? key : item;
    keyed.emplace_back(given.flag(0, false) ? sort_key : without_case(runtime, sort_key), runtime.tuple({key, item}));
  }
  sort_keyed(runtime, keyed, given.integer(2, 0) != 0, false);
  return items_of(runtime, std::move(keyed));
}

Value groupby(Runtime& runtime, const Value& value, const Args& args) {
  const Parameters given(runtime, "groupby", args, {"attribute", "default", "case_sensitive"}, 1);
  const AttributePath path(runtime, given[0]);
  const bool ignore_case = !given.flag(2, false);
  std::optional<Value> fallback;
  if (given.given_not_none(1)) fallback = given[1];
  std::vector<Keyed> keyed;
  for (Value& item : to_vector(runtime, value)) {
    Value key = path.get(runtime, item, fallback);
    keyed.emplace_back(ignore_case ? without_case(runtime, key) : key, std::move(item));
  }
  sort_keyed(runtime, keyed, false, false);
  std::vector<Value> groups;
  for (size_t start = 0; start < keyed.size();) {
    size_t end = start + 1;
    while (end < keyed.size() && equals(runtime, keyed[start].first, keyed[end].first)) ++end;
    std::vector<Value> members;
    for (size_t i = start; i < end; ++i) members.push_back(keyed[i].second);
    const Value name = ignore_case ? path.get(runtime, members[0], fallback) : keyed[start].first;
    groups.push_back(runtime.tuple({name, runtime.list(std::move(members))}));
    start = end;
  }
  return runtime.list(std::move(groups));
}

class Unique : public Iterator {
 public:
  Unique(Iterator* items, AttributePath path, bool ignore_case)
      : items_(items), path_(std::move(path)), ignore_case_(ignore_case) {}
  bool next(Runtime& runtime, Value& out) override {
    const Runtime::Level level(runtime);  // the items may come from such a sequence themselves
    while (items_->next(runtime, out)) {
      runtime.charge();
      Value key = path_.get(runtime, out);
      if (ignore_case_) key = without_case(runtime, key);
      runtime.charge_key(key);
      if (seen_.insert(std::move(key)).second) return true;
    }
    return false;
  }

 private:
  Iterator* items_;
  AttributePath path_;
  bool ignore_case_;
  std::set<Value, KeyLess> seen_;
};

Value unique(Runtime& runtime, const Value& value, const Args& args) {
  const Parameters given(runtime, "unique", args, {"case_sensitive", "attribute"});
  AttributePath path = given.given_not_none(1) ? AttributePath(runtime, given[1]) : AttributePath();
  return Value(runtime.make<Unique>(iterate(runtime, value), std::move(path), !given.flag(0, false)));
}

template <bool Largest>
Value extreme(Runtime& runtime, const Value& value, const Args& args) {
  const Parameters given(runtime, Largest ? "max" : "min", args, {"case_sensitive", "attribute"});
  const SortKey key(runtime, given, 1, !given.flag(0, false), false);
  const std::vector<Keyed> keyed = with_keys(runtime, value, key);
  if (keyed.empty()) return runtime.undefined("No aggregated item, sequence was empty.");
  size_t best = 0;
  for (size_t i = 1; i < keyed.size(); ++i) {
    const Value& candidate = keyed[i].first;
    if (Largest ? less(runtime, keyed[best].first, candidate) : less(runtime, candidate, keyed[best].first)) best = i;
  }
  return keyed[best].second;
}

Value sum(Runtime& runtime, const Value& value, const Args& args) {
  const Parameters given(runtime, "sum", args, {"attribute", "start"});
  const AttributePath path = given.given_not_none(0) ? AttributePath(runtime, given[0]) : AttributePath();
  Value total = given.given(1) ? given[1] : Value(0);
  if (total.is_string()) runtime.fail("TypeError: sum() can't sum strings");
  for (const Value& item : to_vector(runtime, value)) {
    total = binary(runtime, Op::kAdd, total, path.get(runtime, item));
  }
  return total;
}

Value batch(Runtime& runtime, const Value& value, const Args& args) {
  const Parameters given(runtime, "batch", args, {"linecount", "fill_with"}, 1);
  const Int size = given.integer(0, 1);
  if (size > static_cast<Int>(runtime.limits().operations)) {
    runtime.raise(ErrorCode::kLimit, "a batch of the template is too large");
  }
  std::vector<Value> batches;
  std::vector<Value> line;
  for (const Value& item : to_vector(runtime, value)) {
    if (static_cast<Int>(line.size()) == size) batches.push_back(runtime.list(std::exchange(line, {})));
    line.push_back(item);
  }
  if (!line.empty()) {
    while (given.given_not_none(1) && static_cast<Int>(line.size()) < size) {
      runtime.charge();
      line.push_back(given[1]);
    }
    batches.push_back(runtime.list(std::move(line)));
  }
  return Value(runtime.make<Items>(std::move(batches)));
}

Value slice_filter(Runtime& runtime, const Value& value, const Args& args) {
  const Parameters given(runtime, "slice", args, {"slices", "fill_with"}, 1);
  const std::vector<Value> items = to_vector(runtime, value);
  const Int slices = given.integer(0, 1);
  if (slices == 0) runtime.fail("ZeroDivisionError: integer division or modulo by zero");
  const Int size = static_cast<Int>(items.size());
  const Int each = slices > 0 ? size / slices : 0;
  const Int extra = slices > 0 ? size % slices : 0;
  std::vector<Value> columns;
  Int at = 0;
  for (Int i = 0; i < slices; ++i) {
    runtime.charge();
    const Int end = at + each + (i < extra ? 1 : 0);
    std::vector<Value> column(items.begin() + static_cast<std::ptrdiff_t>(at),
                              items.begin() + static_cast<std::ptrdiff_t>(end));
    if (given.given_not_none(1) && i >= extra) column.push_back(given[1]);
    columns.push_back(runtime.list(std::move(column)));
    at = end;
  }
  return Value(runtime.make<Items>(std::move(columns)));
}

Value items(Runtime& runtime, const Value& value, const Args& args) {
  const Parameters none(runtime, "items", args, {});
  if (value.is_undefined()) return Value(iterate(runtime, value));
  auto* dict = value.as<Dict>();
  if (dict == nullptr) runtime.fail("TypeError: Can only get item pairs from a mapping.");
  return Value(iterate(runtime, Value(runtime.make<DictView>(dict, DictView::Part::kItems))));
}

Value attr(Runtime& runtime, const Value& value, const Args& args) {
  const Parameters given(runtime, "attr", args, {"name"}, 1);
  const std::string_view name = given.text(0, "");
  if (value.is_object(ObjectKind::kDict) && value.as<Dict>()->find(given[0]) != nullptr) {
    // Attributes only: an item of that name does not count, a method does.
    const Value method = get_attribute(runtime, Value(runtime.make<Dict>()), name);
    return method;
  }
  return get_attribute(runtime, value, name);
}

constexpr Filter kFilters[] = {
    {"attr", attr},         {"batch", batch},        {"count", count},     {"dictsort", dictsort},  {"first", first},
    {"groupby", groupby},   {"items", items},        {"last", last},       {"length", count},       {"list", list},
    {"max", extreme<true>}, {"min", extreme<false>}, {"reverse", reverse}, {"slice", slice_filter}, {"sort", sort},
    {"sum", sum},           {"unique", unique},
};

}  // namespace

AttributePath::AttributePath(Runtime& runtime, const Value& attribute) {
  if (attribute.is_none()) return;
  if (!attribute.is_string()) {
    steps_.push_back(attribute);
    return;
  }
  std::string_view rest = attribute.str();
  for (;;) {
    const size_t dot = rest.find('.');
    const std::string_view step = rest.substr(0, dot);
    const bool numeric =
        !step.empty() && step.size() < 10 && step.find_first_not_of("0123456789") == std::string_view::npos;
    steps_.push_back(numeric ? Value(std::stoi(std::string(step))) : runtime.part(attribute, step));
    if (dot == std::string_view::npos) break;
    rest.remove_prefix(dot + 1);
  }
}

Value AttributePath::get(Runtime& runtime, Value item, const std::optional<Value>& fallback) const {
  for (const Value& step : steps_) {
    runtime.charge();
    item = get_item(runtime, item, step);
    if (fallback && item.is_undefined()) item = *fallback;
  }
  return item;
}

Value without_case(Runtime& runtime, const Value& value) {
  return value.is_string() ? runtime.rewritten(value, to_lower(value.str())) : value;
}

std::span<const Filter> sequence_filters() { return kFilters; }

}  // namespace quire::jinja
