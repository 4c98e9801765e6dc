// allOf, anyOf, oneOf, not, if, references, and what one property's presence asks of the others.
#include <algorithm>
#include <array>

#include "grammar/json_schema/evaluator.h"

namespace quire::schema {
namespace {

class Combination {
 public:
  Combination(Evaluator& evaluator, const json::value& schema, Values values)
      : evaluator_(evaluator), algebra_(evaluator.algebra), schema_(schema), values_(std::move(values)) {}

  void references();
  void all_of();
  void any_of();
  void one_of();
  void negation();
  void conditional();
  void dependencies();
  void unevaluated_items();
  void unevaluated_properties();
  Values take() { return std::move(values_); }

 private:
  const json::value* find(std::string_view keyword) const { return evaluator_.document.find(schema_, keyword); }
  Values values_of(std::string_view keyword, const json::value& value) {
    return evaluator_.values(evaluator_.subschema(schema_, keyword, value));
  }
  void narrow(const Values& values) { values_ = algebra_.intersect(values_, values); }
  // The values of any of them; where it matters which parts of a value were evaluated, of every subset of them too.
  Values any(const std::vector<Values>& branches);
  // Objects with the property.
  Values with(const std::string& name);
  void dependency(std::string_view keyword, const std::string& name, const json::value& value);

  Evaluator& evaluator_;
  Algebra& algebra_;
  const json::value& schema_;
  Values values_;
};

void Combination::references() {
  for (const std::string_view keyword : {"$ref", "$dynamicRef", "$recursiveRef"}) {
    if (find(keyword) == nullptr) continue;
    narrow(evaluator_.values(evaluator_.terms.schema(evaluator_.document.resolve(schema_, keyword))));
  }
}

void Combination::all_of() {
  const json::array* branches = evaluator_.list(schema_, "allOf");
  if (branches == nullptr) return;
  for (const json::value& branch : *branches) narrow(values_of("allOf", branch));
}

void Combination::any_of() {
  const json::array* branches = evaluator_.list(schema_, "anyOf");
  if (branches == nullptr) return;
  std::vector<Values> each;
  for (const json::value& branch : *branches) each.push_back(values_of("anyOf", branch));
  narrow(any(each));
}

Values Combination::any(const std::vector<Values>& branches) {
  const SchemaDocument& document = evaluator_.document;
  Values any = algebra_.none();
  for (const Values& branch : branches) any = algebra_.unite(std::move(any), branch);
  if (!document.uses("unevaluatedItems") && !document.uses("unevaluatedProperties")) return any;
  constexpr size_t kMaxBranches = 5;
  if (branches.size() > kMaxBranches) {
    document.unsupported(schema_, "anyOf", "with unevaluatedItems or unevaluatedProperties it may have 5 branches");
  }
  for (size_t subset = 1; subset < (size_t{1} << branches.size()); ++subset) {
    Values all = algebra_.all();
    for (size_t i = 0; i < branches.size(); ++i) {
      if (((subset >> i) & 1) != 0) all = algebra_.intersect(all, branches[i]);
    }
    any = algebra_.unite(std::move(any), all);
  }
  return any;
}

void Combination::one_of() {
  const json::array* branches = evaluator_.list(schema_, "oneOf");
  if (branches == nullptr) return;
  // What stands beside narrows the branches first: fewer of them overlap.
  std::vector<Values> each;
  for (const json::value& branch : *branches) each.push_back(algebra_.intersect(values_, values_of("oneOf", branch)));
  Values one = algebra_.none();
  for (size_t i = 0; i < each.size(); ++i) {
    Values alone = each[i];
    for (size_t j = 0; j < each.size(); ++j) {
      if (i == j) continue;
      evaluator_.builder.check_time();
      alone = algebra_.subtract(alone, each[j]);
    }
    one = algebra_.unite(std::move(one), alone);
  }
  values_ = std::move(one);
}

void Combination::negation() {
  if (const json::value* value = find("not")) values_ = algebra_.subtract(values_, values_of("not", *value));
}

void Combination::conditional() {
  const json::value* condition = find("if");
  if (condition == nullptr) return;
  const json::value* then = find("then");
  const json::value* otherwise = find("else");
  const bool may_be_looked_at =
      evaluator_.document.uses("unevaluatedItems") || evaluator_.document.uses("unevaluatedProperties");
  if (then == nullptr && otherwise == nullptr && !may_be_looked_at) return;
  const Values test = values_of("if", *condition);
  Values met = algebra_.intersect(values_, test);
  if (then != nullptr) met = algebra_.intersect(met, values_of("then", *then));
  Values unmet = algebra_.subtract(values_, test);
  if (otherwise != nullptr) unmet = algebra_.intersect(unmet, values_of("else", *otherwise));
  values_ = algebra_.unite(std::move(met), unmet);
}

Values Combination::with(const std::string& name) {
  Values values = algebra_.none();
  ObjectShape shape = algebra_.any_object();
  shape.named.push_back({name, {}});
  shape.required.insert(name);
  values.objects.push_back(std::move(shape));
  return values;
}

void Combination::dependency(std::string_view keyword, const std::string& name, const json::value& value) {
  const Values present = with(name);
  Values met = algebra_.intersect(values_, present);
  if (const json::array* names = value.if_array()) {
    for (const json::value& other : *names) {
      if (!other.is_string()) evaluator_.document.wrong(schema_, keyword, "it should list names");
      met = algebra_.intersect(met, with(std::string(other.get_string())));
    }
  } else {
    met = algebra_.intersect(met, values_of(keyword, value));
  }
  values_ = algebra_.unite(algebra_.subtract(values_, present), met);
}

void Combination::dependencies() {
  for (const std::string_view keyword : {"dependencies", "dependentRequired", "dependentSchemas"}) {
    const json::object* map = evaluator_.map(schema_, keyword);
    if (map == nullptr) continue;
    for (const auto& member : *map) dependency(keyword, std::string(member.key()), member.value());
  }
}

void Combination::unevaluated_items() {
  const json::value* value = find("unevaluatedItems");
  if (value == nullptr) return;
  const Conjunction others = evaluator_.subschema(schema_, "unevaluatedItems", *value);
  for (ArrayShape& shape : values_.arrays) {
    if (shape.num_evaluated == kNoMaximum) continue;
    if (shape.has_contains) {
      evaluator_.document.unsupported(schema_, "unevaluatedItems", "beside contains, which looks at any of the items");
    }
    const auto num_evaluated = static_cast<size_t>(shape.num_evaluated);
    if (shape.prefix.size() < num_evaluated) shape.prefix.resize(num_evaluated, shape.rest);
    for (size_t i = num_evaluated; i < shape.prefix.size(); ++i) {
      shape.prefix[i] = evaluator_.terms.both(shape.prefix[i], others);
    }
    shape.rest = evaluator_.terms.both(shape.rest, others);
    shape.num_evaluated = kNoMaximum;
  }
}

void Combination::unevaluated_properties() {
  const json::value* value = find("unevaluatedProperties");
  if (value == nullptr) return;
  const Conjunction others = evaluator_.subschema(schema_, "unevaluatedProperties", *value);
  for (ObjectShape& shape : values_.objects) {
    const StringSet evaluated = shape.evaluated.value_or(algebra_.no_strings());
    for (NamedValue& property : shape.named) {
      if (!algebra_.has(evaluated, property.name)) property.value = evaluator_.terms.both(property.value, others);
    }
    std::vector<NameClass> classes;
    const auto add = [&](const StringSet& names, const Conjunction& meaning) {
      if (!is_never(meaning) && !evaluator_.builder.is_nothing(names.texts)) classes.push_back({names, meaning});
    };
    for (const NameClass& one : shape.classes) {
      add(algebra_.intersect(one.names, evaluated), one.value);
      add(algebra_.intersect(one.names, algebra_.complement(evaluated)), evaluator_.terms.both(one.value, others));
    }
    shape.classes = std::move(classes);
    shape.evaluated = algebra_.all_strings();
  }
}

}  // namespace

Values combine(Evaluator& evaluator, const json::value& schema, Values values) {
  Combination combination(evaluator, schema, std::move(values));
  combination.references();
  combination.all_of();
  combination.any_of();
  combination.one_of();
  combination.negation();
  combination.conditional();
  combination.dependencies();
  combination.unevaluated_items();
  combination.unevaluated_properties();
  return combination.take();
}

}  // namespace quire::schema
