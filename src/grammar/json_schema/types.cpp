// type, enum, const; OpenAPI's nullable.
#include "grammar/json_schema/evaluator.h"

namespace quire::schema {
namespace {

void add_type(Evaluator& evaluator, const json::value& schema, const json::value& type, Values& values) {
  const std::string_view name = type.is_string() ? std::string_view(type.get_string()) : std::string_view();
  if (name == "null") {
    values.has_null = true;
  } else if (name == "boolean") {
    values.has_false = values.has_true = true;
  } else if (name == "integer") {
    values.numbers = evaluator.algebra.unite(values.numbers, integers(evaluator));
  } else if (name == "number") {
    values.numbers = evaluator.algebra.all_numbers();
  } else if (name == "string") {
    values.strings = evaluator.algebra.all_strings();
  } else if (name == "array") {
    values.arrays = {ArrayShape{}};
  } else if (name == "object") {
    values.objects = {evaluator.algebra.any_object()};
  } else {
    evaluator.document.wrong(schema, "type", "a type is null, boolean, integer, number, string, array or object");
  }
}

// One by one these would be as many languages within each other.
Values any_constant(Evaluator& evaluator, const json::array& constants) {
  Values values = evaluator.algebra.none();
  std::vector<Regex> strings;
  std::vector<Regex> numbers;
  bool may_be_whole = false;
  for (const json::value& constant : constants) {
    const Values one = evaluator.constant_values(constant);
    if (constant.is_string()) {
      strings.push_back(one.strings.texts);
    } else if (constant.is_number()) {
      numbers.push_back(one.numbers.decimals);
      may_be_whole = may_be_whole || one.numbers.may_be_whole;
    } else {
      values = evaluator.algebra.unite(std::move(values), one);
    }
  }
  if (!strings.empty()) values.strings = {.texts = evaluator.builder.any_of(strings)};
  if (!numbers.empty()) {
    values.numbers = {
        .decimals = evaluator.builder.any_of(numbers), .are_constants = true, .may_be_whole = may_be_whole};
  }
  return values;
}

}  // namespace

Values read_types(Evaluator& evaluator, const json::value& schema) {
  const SchemaDocument& document = evaluator.document;
  Values values = evaluator.algebra.all();
  if (const json::value* type = document.find(schema, "type")) {
    values = evaluator.algebra.none();
    if (const json::array* types = type->if_array()) {
      for (const json::value& one : *types) add_type(evaluator, schema, one, values);
    } else {
      add_type(evaluator, schema, *type, values);
    }
    const json::value* nullable = document.find(schema, "nullable");
    if (nullable != nullptr && nullable->is_bool() && nullable->get_bool()) values.has_null = true;
  }
  if (const json::array* constants = evaluator.list(schema, "enum")) {
    values = evaluator.algebra.intersect(values, any_constant(evaluator, *constants));
  }
  if (const json::value* constant = document.find(schema, "const")) {
    values = evaluator.algebra.intersect(values, evaluator.constant_values(*constant));
  }
  return values;
}

}  // namespace quire::schema
