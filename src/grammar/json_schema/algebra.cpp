#include "grammar/json_schema/algebra.h"

#include <algorithm>
#include <array>

#include "base/error.h"

namespace quire::schema {
namespace {

// Alternatives of arrays or objects in one set. Beyond it a combination is refused.
constexpr size_t kMaxShapes = 256;

int64_t smaller_maximum(int64_t a, int64_t b) {
  if (a == kNoMaximum) return b;
  return b == kNoMaximum ? a : std::min(a, b);
}

const Conjunction& item_at(const ArrayShape& shape, size_t index) {
  return index < shape.prefix.size() ? shape.prefix[index] : shape.rest;
}

template <typename T>
void add_new(std::vector<T>& all, const std::vector<T>& more) {
  for (const T& one : more) {
    if (std::ranges::find(all, one) == all.end()) all.push_back(one);
  }
}

}  // namespace

NumberSet Algebra::intersect(const NumberSet& a, const NumberSet& b) {
  if (a.has_exponents) return b;
  if (b.has_exponents) return a;
  return {.decimals = builder_.all_of(std::array{a.decimals, b.decimals}),
          .are_integers = a.are_integers || b.are_integers,
          .are_constants = a.are_constants || b.are_constants,
          .may_be_whole = a.may_be_whole || b.may_be_whole};
}

NumberSet Algebra::unite(const NumberSet& a, const NumberSet& b) {
  if (a.has_exponents || b == no_numbers()) return a;
  if (b.has_exponents || a == no_numbers()) return b;
  return {.decimals = builder_.any_of(std::array{a.decimals, b.decimals}),
          .are_integers = a.are_integers && b.are_integers,
          .are_constants = a.are_constants && b.are_constants,
          .may_be_whole = a.may_be_whole || b.may_be_whole};
}

NumberSet Algebra::complement(const NumberSet& a) {
  if (a.has_exponents) return no_numbers();
  if (a.decimals == builder_.nothing()) return all_numbers();
  return {.decimals = builder_.all_of(std::array{text_.decimals, builder_.complement(a.decimals)})};
}

StringSet Algebra::intersect(const StringSet& a, const StringSet& b) {
  if (a.has_escapes) return b;
  if (b.has_escapes) return a;
  return {.texts = builder_.all_of(std::array{a.texts, b.texts})};
}

StringSet Algebra::unite(const StringSet& a, const StringSet& b) {
  if (a.has_escapes) return a;
  if (b.has_escapes) return b;
  return {.texts = builder_.any_of(std::array{a.texts, b.texts})};
}

StringSet Algebra::complement(const StringSet& a) {
  if (a.has_escapes) return no_strings();
  if (a.texts == builder_.nothing()) return all_strings();
  return {.texts = builder_.all_of(std::array{text_.characters, builder_.complement(a.texts)})};
}

bool Algebra::has(const StringSet& set, std::string_view value) {
  if (set.has_escapes) return true;
  return !builder_.is_nothing(builder_.all_of(std::array{set.texts, builder_.literal(value)}));
}

StringSet Algebra::without(const StringSet& set, const std::vector<NamedValue>& named) {
  std::vector<Regex> names;
  for (const NamedValue& property : named) {
    if (has(set, property.name)) names.push_back(builder_.literal(property.name));
  }
  if (names.empty()) return set;
  return intersect({.texts = set.texts}, complement(StringSet{.texts = builder_.any_of(names)}));
}

Conjunction Algebra::value_of(const ObjectShape& shape, std::string_view name) {
  if (const NamedValue* property = shape.find(name)) return property->value;
  for (const NameClass& names : shape.classes) {
    if (has(names.names, name)) return names.value;
  }
  return terms_.never();
}

Values Algebra::all() {
  return {.has_null = true,
          .has_false = true,
          .has_true = true,
          .numbers = all_numbers(),
          .strings = all_strings(),
          .arrays = {ArrayShape{}},
          .objects = {any_object()}};
}

Values Algebra::none() { return {.numbers = no_numbers(), .strings = no_strings()}; }

bool Algebra::is_empty(const ArrayShape& shape) {
  if (shape.max != kNoMaximum && shape.min > shape.max) return true;
  for (int64_t i = 0; i < shape.min && i <= static_cast<int64_t>(shape.prefix.size()); ++i) {
    if (is_empty_(item_at(shape, static_cast<size_t>(i)))) return true;
  }
  return std::ranges::any_of(shape.contained, [&](const Contained& part) {
    if (part.max != kNoMaximum && part.min > part.max) return true;
    return part.min > 0 && (is_empty_(part.item) || (static_cast<size_t>(part.from) >= shape.prefix.size() &&
                                                     is_empty_(terms_.both(part.item, shape.rest))));
  });
}

bool Algebra::is_empty(const ObjectShape& shape) {
  const auto num_required = static_cast<int64_t>(shape.required.size());
  if (shape.max != kNoMaximum && std::max(num_required, shape.min) > shape.max) return true;
  if (shape.classes.empty()) {
    const auto num_possible =
        std::ranges::count_if(shape.named, [](const NamedValue& property) { return !is_never(property.value); });
    if (num_possible < shape.min) return true;
  }
  if (std::ranges::any_of(shape.witnesses, [&](const NameClass& one) { return is_empty_(one.value); })) return true;
  return std::ranges::any_of(shape.required,
                             [&](const std::string& name) { return is_empty_(shape.find(name)->value); });
}

bool Algebra::is_empty(const Values& values) {
  if (values.has_null || values.has_false || values.has_true) return false;
  if (!builder_.is_nothing(values.numbers.decimals) || !builder_.is_nothing(values.strings.texts)) return false;
  const auto are_empty = [&](const auto& shapes) {
    return std::ranges::all_of(shapes, [&](const auto& shape) { return is_empty(shape); });
  };
  return are_empty(values.arrays) && are_empty(values.objects);
}

ArrayShape Algebra::intersect(const ArrayShape& a, const ArrayShape& b) {
  ArrayShape shape{.rest = terms_.both(a.rest, b.rest),
                   .min = std::max(a.min, b.min),
                   .max = smaller_maximum(a.max, b.max),
                   .contained = a.contained};
  for (size_t i = 0; i < std::max(a.prefix.size(), b.prefix.size()); ++i) {
    shape.prefix.push_back(terms_.both(item_at(a, i), item_at(b, i)));
  }
  add_new(shape.contained, b.contained);
  shape.distinct = a.distinct != nullptr ? a.distinct : b.distinct;
  const bool all_evaluated = a.num_evaluated == kNoMaximum || b.num_evaluated == kNoMaximum;
  shape.num_evaluated = all_evaluated ? kNoMaximum : std::max(a.num_evaluated, b.num_evaluated);
  shape.has_contains = a.has_contains || b.has_contains;
  return shape;
}

ObjectShape Algebra::intersect(const ObjectShape& a, const ObjectShape& b) {
  ObjectShape shape{.required = a.required, .min = std::max(a.min, b.min), .max = smaller_maximum(a.max, b.max)};
  for (const NamedValue& property : a.named) {
    shape.named.push_back({property.name, terms_.both(property.value, value_of(b, property.name))});
  }
  for (const NamedValue& property : b.named) {
    if (a.find(property.name) != nullptr) continue;
    shape.named.push_back({property.name, terms_.both(value_of(a, property.name), property.value)});
  }
  for (const NameClass& one : a.classes) {
    for (const NameClass& other : b.classes) {
      NameClass names{intersect(one.names, other.names), terms_.both(one.value, other.value)};
      const bool is_new = names.names != one.names && names.names != other.names;
      if (!is_never(names.value) && !(is_new && builder_.is_nothing(names.names.texts))) {
        shape.classes.push_back(std::move(names));
      }
    }
  }
  shape.required.insert(b.required.begin(), b.required.end());
  shape.witnesses = a.witnesses;
  add_new(shape.witnesses, b.witnesses);
  shape.evaluated = a.evaluated ? a.evaluated : b.evaluated;
  if (a.evaluated && b.evaluated) shape.evaluated = unite(*a.evaluated, *b.evaluated);
  return shape;
}

bool Algebra::are_disjoint(const ArrayShape& a, const ArrayShape& b) { return is_empty(intersect(a, b)); }

bool Algebra::are_disjoint(const ObjectShape& a, const ObjectShape& b) {
  const auto is_parted_by = [&](const std::set<std::string>& names) {
    return std::ranges::any_of(
        names, [&](const std::string& name) { return is_empty_(terms_.both(value_of(a, name), value_of(b, name))); });
  };
  if (is_parted_by(a.required) || is_parted_by(b.required)) return true;
  return a.min + b.min > 0 && is_empty(intersect(a, b));
}

std::vector<ArrayShape> Algebra::complement(const ArrayShape& shape) {
  if (shape.distinct != nullptr) {
    fail(ErrorCode::kUnsupported, "the JSON schema at {} needs arrays without uniqueItems, which is not supported",
         place_());
  }
  std::vector<ArrayShape> others;
  for (size_t i = 0; i < shape.prefix.size(); ++i) {
    if (shape.prefix[i].empty()) continue;
    ArrayShape other{.prefix = std::vector<Conjunction>(i), .min = static_cast<int64_t>(i) + 1};
    other.prefix.push_back(terms_.negation(shape.prefix[i]));
    others.push_back(std::move(other));
  }
  const auto length = static_cast<int64_t>(shape.prefix.size());
  if (is_never(shape.rest)) {
    others.push_back({.min = length + 1});
  } else if (!shape.rest.empty()) {
    others.push_back({.contained = {{.item = terms_.negation(shape.rest), .from = length}}});
  }
  if (shape.min > 0) others.push_back({.max = shape.min - 1});
  if (shape.max != kNoMaximum) others.push_back({.min = shape.max + 1});
  for (const Contained& part : shape.contained) {
    Contained fewer = part;
    fewer.min = 0;
    fewer.max = part.min - 1;
    if (part.min > 0) others.push_back({.contained = {std::move(fewer)}});
    Contained more = part;
    more.min = part.max + 1;
    more.max = kNoMaximum;
    if (part.max != kNoMaximum) others.push_back({.contained = {std::move(more)}});
  }
  return others;
}

std::vector<ObjectShape> Algebra::complement(const ObjectShape& shape) {
  std::vector<ObjectShape> others;
  const auto other = [&]() -> ObjectShape& { return others.emplace_back(any_object()); };
  for (const NamedValue& property : shape.named) {
    if (property.value.empty()) continue;
    ObjectShape& present = other();
    present.named.push_back({property.name, terms_.negation(property.value)});
    present.required.insert(property.name);
  }
  StringSet outside = all_strings();
  for (const NameClass& names : shape.classes) {
    outside = intersect(outside, complement(names.names));
    if (!names.value.empty()) {
      other().witnesses.push_back({without(names.names, shape.named), terms_.negation(names.value)});
    }
  }
  outside = without(outside, shape.named);
  if (!builder_.is_nothing(outside.texts)) other().witnesses.push_back({outside, {}});
  for (const std::string& name : shape.required) other().named.push_back({name, terms_.never()});
  if (shape.min > 0) other().max = shape.min - 1;
  if (shape.max != kNoMaximum) other().min = shape.max + 1;
  for (const NameClass& witness : shape.witnesses) {
    ObjectShape& without_it = others.emplace_back();
    without_it.classes.push_back({complement(witness.names), {}});
    without_it.classes.push_back({witness.names, terms_.negation(witness.value)});
  }
  return others;
}

bool Algebra::includes(const ObjectShape& a, const ObjectShape& b) {
  if (a.evaluated != b.evaluated || a.min > b.min || !std::ranges::includes(b.required, a.required)) return false;
  if (a.max != kNoMaximum && (b.max == kNoMaximum || a.max < b.max)) return false;
  const auto is_known = [&](const NameClass& witness) {
    return std::ranges::find(b.witnesses, witness) != b.witnesses.end();
  };
  if (!std::ranges::all_of(a.witnesses, is_known)) return false;
  const bool has_any_name = a.classes.size() == 1 && a.classes[0].names.has_escapes;
  if (!has_any_name && a.classes != b.classes) return false;
  const auto has_all = [](const Conjunction& of_a, const Conjunction& of_b) {
    return is_never(of_b) || std::ranges::includes(of_b, of_a);
  };
  const auto has_all_named = [&](const NamedValue& property) {
    return has_all(value_of(a, property.name), value_of(b, property.name));
  };
  const auto has_all_of_class = [&](const NameClass& names) { return has_all(a.classes[0].value, names.value); };
  return std::ranges::all_of(a.named, has_all_named) && std::ranges::all_of(b.named, has_all_named) &&
         (!has_any_name || std::ranges::all_of(b.classes, has_all_of_class));
}

template <typename Shape>
void Algebra::add(std::vector<Shape>& shapes, Shape shape) {
  if (is_empty(shape)) return;
  if (std::ranges::any_of(shapes, [&](const Shape& other) { return includes(other, shape); })) return;
  std::erase_if(shapes, [&](const Shape& other) { return includes(shape, other); });
  if (shapes.size() == kMaxShapes) {
    fail(ErrorCode::kUnsupported, "the JSON schema at {} combines more than {} alternatives of arrays or objects",
         place_(), kMaxShapes);
  }
  shapes.push_back(std::move(shape));
}

template <typename Shape>
std::vector<Shape> Algebra::intersect(const std::vector<Shape>& a, const std::vector<Shape>& b) {
  std::vector<Shape> shapes;
  for (const Shape& one : a) {
    for (const Shape& other : b) add(shapes, intersect(one, other));
  }
  return shapes;
}

Values Algebra::intersect(const Values& a, const Values& b) {
  return {.has_null = a.has_null && b.has_null,
          .has_false = a.has_false && b.has_false,
          .has_true = a.has_true && b.has_true,
          .numbers = intersect(a.numbers, b.numbers),
          .strings = intersect(a.strings, b.strings),
          .arrays = intersect(a.arrays, b.arrays),
          .objects = intersect(a.objects, b.objects)};
}

Values Algebra::unite(Values a, const Values& b) {
  a.has_null |= b.has_null;
  a.has_false |= b.has_false;
  a.has_true |= b.has_true;
  a.numbers = unite(a.numbers, b.numbers);
  a.strings = unite(a.strings, b.strings);
  for (const ArrayShape& shape : b.arrays) add(a.arrays, shape);
  for (const ObjectShape& shape : b.objects) add(a.objects, shape);
  return a;
}

Values Algebra::complement(const Values& a) { return subtract(all(), a); }

Values Algebra::subtract(const Values& a, const Values& b) {
  const auto rest = [&](auto shapes, const auto& others) {
    for (const auto& taken : others) {
      decltype(shapes) left;
      for (const auto& shape : shapes) {
        if (are_disjoint(shape, taken)) {
          add(left, shape);
          continue;
        }
        for (const auto& outside : complement(taken)) add(left, intersect(shape, outside));
      }
      shapes = std::move(left);
    }
    return shapes;
  };
  return {.has_null = a.has_null && !b.has_null,
          .has_false = a.has_false && !b.has_false,
          .has_true = a.has_true && !b.has_true,
          .numbers = intersect(a.numbers, complement(b.numbers)),
          .strings = intersect(a.strings, complement(b.strings)),
          .arrays = rest(a.arrays, b.arrays),
          .objects = rest(a.objects, b.objects)};
}

}  // namespace quire::schema
