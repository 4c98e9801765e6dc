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
  void refuse_others();
  Values take() { return std::move(values_); }

 private:
  const json::value* find(std::string_view keyword) const { return evaluator_.document.find(schema_, keyword); }
  Values values_of(std::string_view keyword, const json::value& value) {
    return evaluator_.values(evaluator_.subschema(schema_, keyword, value));
  }
  void narrow(const Values& values) { values_ = algebra_.intersect(values_, values); }
  // Objects with the property, or all values without it.
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
  Values any = algebra_.none();
  for (const json::value& branch : *branches) any = algebra_.unite(std::move(any), values_of("anyOf", branch));
  narrow(any);
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
      evaluator_.check_time();
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
  if (then == nullptr && otherwise == nullptr) return;
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

void Combination::refuse_others() {
  for (const std::string_view keyword : {"unevaluatedItems", "unevaluatedProperties"}) {
    const json::value* value = find(keyword);
    if (value == nullptr || (value->is_bool() && value->get_bool())) continue;
    evaluator_.document.unsupported(schema_, keyword, "use additionalProperties or items");
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
  combination.refuse_others();
  return combination.take();
}

}  // namespace quire::schema
