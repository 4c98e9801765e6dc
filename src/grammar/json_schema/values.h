// A set of JSON values, by type: what a schema allows. schema_algebra.h combines them.
//
// Numbers and strings are regular languages. Where a number's decimal texts are in a language, all of them are: so that
// texts can be intersected and complemented in the place of numbers.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "grammar/grammar.h"
#include "grammar/json_schema/terms.h"

namespace quire::schema {

struct NumberSet {
  Regex decimals;              // without exponents; all texts of a value or none
  bool has_exponents = false;  // texts with exponents too; of the set of all numbers alone
  bool are_integers = false;   // written without a fraction
  bool are_constants = false;  // written without zeros at the end of a fraction
  bool may_be_whole = false;   // of constants: 1.0 may be written so, as the schema does
  bool operator==(const NumberSet&) const = default;
};

struct StringSet {
  Regex texts;               // without quotes and escapes
  bool has_escapes = false;  // written with any escapes, else with those that must be; of the set of all strings alone
  bool operator==(const StringSet&) const = default;
};

// So many items, from index `from` on, are like this.
struct Contained {
  Conjunction item;
  int64_t min = 1;
  int64_t max = kNoMaximum;
  int64_t from = 0;
  bool operator==(const Contained&) const = default;
};

struct ArrayShape {
  std::vector<Conjunction> prefix = {};
  Conjunction rest = {};
  int64_t min = 0;
  int64_t max = kNoMaximum;
  std::vector<Contained> contained = {};
  const json::value* distinct = nullptr;  // a schema with uniqueItems, or nullptr where items may be equal
  // Of the schema's keywords that look at items: how many from the first on, and whether `contains` looked at others.
  int64_t num_evaluated = 0;  // kNoMaximum: all
  bool has_contains = false;
  bool operator==(const ArrayShape&) const = default;
};

struct NamedValue {
  std::string name;
  Conjunction value;
  bool operator==(const NamedValue&) const = default;
};

struct NameClass {
  StringSet names;
  Conjunction value;
  bool operator==(const NameClass&) const = default;
};

// A property may be there if it has a name in `named`, or a name in one of `classes` that no named one has.
struct ObjectShape {
  std::vector<NamedValue> named = {};
  std::vector<NameClass> classes = {};  // of no common name
  std::set<std::string> required = {};  // each of them is named
  int64_t min = 0;
  int64_t max = kNoMaximum;
  std::vector<NameClass> witnesses = {};  // for each, some property has such a name and such a value
  // The names that the schema's keywords looked at; set where a schema has unevaluatedProperties.
  std::optional<StringSet> evaluated = {};
  bool operator==(const ObjectShape&) const = default;

  const NamedValue* find(std::string_view name) const {
    for (const NamedValue& property : named) {
      if (property.name == name) return &property;
    }
    return nullptr;
  }
};

struct Values {
  bool has_null = false;
  bool has_false = false;
  bool has_true = false;
  NumberSet numbers;
  StringSet strings;
  std::vector<ArrayShape> arrays = {};  // the union of these
  std::vector<ObjectShape> objects = {};
};

}  // namespace quire::schema
