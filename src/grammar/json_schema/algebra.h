// Intersection, union and complement of sets of JSON values. All exact, or refused where they grow too large.
#pragma once

#include <functional>
#include <string_view>

#include "grammar/json_schema/json_text.h"
#include "grammar/json_schema/values.h"

namespace quire::schema {

class Algebra {
 public:
  // is_empty: whether it is certain that no value meets the conjunction. place: of the schema that is read, for
  // messages.
  Algebra(GrammarBuilder& builder, const JsonText& text, TermTable& terms,
          std::function<bool(const Conjunction&)> is_empty, std::function<std::string()> place)
      : builder_(builder), text_(text), terms_(terms), is_empty_(std::move(is_empty)), place_(std::move(place)) {}

  NumberSet all_numbers() const { return {.decimals = text_.decimals, .has_exponents = true}; }
  NumberSet no_numbers() { return {.decimals = builder_.nothing()}; }
  NumberSet intersect(const NumberSet& a, const NumberSet& b);
  NumberSet unite(const NumberSet& a, const NumberSet& b);
  NumberSet complement(const NumberSet& a);

  StringSet all_strings() const { return {.texts = text_.characters, .has_escapes = true}; }
  StringSet no_strings() { return {.texts = builder_.nothing()}; }
  StringSet intersect(const StringSet& a, const StringSet& b);
  StringSet unite(const StringSet& a, const StringSet& b);
  StringSet complement(const StringSet& a);
  StringSet string(std::string_view value) { return {.texts = builder_.literal(value)}; }
  bool has(const StringSet& set, std::string_view value);
  // Without the names of these properties.
  StringSet without(const StringSet& set, const std::vector<NamedValue>& named);

  ObjectShape any_object() const { return {.classes = {{all_strings(), {}}}}; }
  // An object's property of this name has such a value; not present where nothing allows it.
  Conjunction value_of(const ObjectShape& shape, std::string_view name);

  Values all();
  Values none();
  Values intersect(const Values& a, const Values& b);
  Values unite(Values a, const Values& b);
  Values complement(const Values& a);
  // Of a, what b has not.
  Values subtract(const Values& a, const Values& b);

  // Whether it is certain that there is no such value.
  bool is_empty(const ArrayShape& shape);
  bool is_empty(const ObjectShape& shape);
  bool is_empty(const Values& values);

 private:
  ArrayShape intersect(const ArrayShape& a, const ArrayShape& b);
  ObjectShape intersect(const ObjectShape& a, const ObjectShape& b);
  std::vector<ArrayShape> complement(const ArrayShape& shape);
  std::vector<ObjectShape> complement(const ObjectShape& shape);
  bool are_disjoint(const ArrayShape& a, const ArrayShape& b);
  bool are_disjoint(const ObjectShape& a, const ObjectShape& b);
  template <typename Shape>
  std::vector<Shape> intersect(const std::vector<Shape>& a, const std::vector<Shape>& b);
  template <typename Shape>
  void add(std::vector<Shape>& shapes, Shape shape);

  GrammarBuilder& builder_;
  const JsonText& text_;
  TermTable& terms_;
  std::function<bool(const Conjunction&)> is_empty_;
  std::function<std::string()> place_;
};

}  // namespace quire::schema
