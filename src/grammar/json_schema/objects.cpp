// properties, patternProperties, additionalProperties, propertyNames, required, minProperties, maxProperties.
#include <algorithm>
#include <array>

#include "base/error.h"
#include "grammar/json_schema/evaluator.h"

namespace quire::schema {
namespace {

constexpr size_t kMaxClasses = 64;

struct Pattern {
  StringSet names;
  Conjunction value;
};

std::vector<Pattern> read_patterns(Evaluator& evaluator, const json::value& schema) {
  std::vector<Pattern> patterns;
  const json::object* map = evaluator.map(schema, "patternProperties");
  if (map == nullptr) return patterns;
  for (const auto& member : *map) {
    try {
      patterns.push_back({{.texts = evaluator.builder.expression(std::string_view(member.key()), false)},
                          evaluator.subschema(schema, "patternProperties", member.value())});
    } catch (const Error& error) {
      if (error.code() == ErrorCode::kLimit) throw;
      fail(error.code(), "the JSON schema at {}: {}", evaluator.document.pointer(member.value()), error.what());
    }
  }
  return patterns;
}

// Names by which of the patterns they match; of those that match none, the value is `additional`.
std::vector<NameClass> classes_of(Evaluator& evaluator, const json::value& schema, const std::vector<Pattern>& patterns,
                                  const Conjunction& additional) {
  Algebra& algebra = evaluator.algebra;
  std::vector<NameClass> matched;
  StringSet unmatched = algebra.all_strings();
  for (const Pattern& pattern : patterns) {
    std::vector<NameClass> parts;
    const StringSet others = algebra.complement(pattern.names);
    const auto add = [&](const StringSet& names, const Conjunction& value) {
      if (!evaluator.builder.is_nothing(names.texts)) parts.push_back({names, value});
    };
    for (const NameClass& one : matched) {
      add(algebra.intersect(one.names, pattern.names), evaluator.terms.both(one.value, pattern.value));
      add(algebra.intersect(one.names, others), one.value);
    }
    add(algebra.intersect(unmatched, pattern.names), pattern.value);
    unmatched = algebra.intersect(unmatched, others);
    matched = std::move(parts);
    if (matched.size() > kMaxClasses) {
      evaluator.document.unsupported(schema, "patternProperties", "its patterns overlap in too many ways");
    }
  }
  if (!evaluator.builder.is_nothing(unmatched.texts)) matched.push_back({unmatched, additional});
  std::erase_if(matched, [](const NameClass& names) { return is_never(names.value); });
  return matched;
}

void read_required(Evaluator& evaluator, const json::value& schema, ObjectShape& shape) {
  const json::value* value = evaluator.document.find(schema, "required");
  // Before draft 4, and in schemas that are written so today, a property says for itself that it is required.
  if (value == nullptr || (value->is_bool() && evaluator.document.draft() == Draft::kUnstated)) return;
  const json::array* names = evaluator.list(schema, "required");
  for (const json::value& name : *names) {
    if (!name.is_string()) evaluator.document.wrong(schema, "required", "it should be a list of strings");
    shape.required.insert(std::string(name.get_string()));
  }
  for (const json::value& name : *names) {
    const std::string_view text(name.get_string());
    if (shape.find(text) == nullptr)
      shape.named.push_back({std::string(text), evaluator.algebra.value_of(shape, text)});
  }
}

StringSet evaluated_names(Algebra& algebra, const ObjectShape& shape, const std::vector<Pattern>& patterns) {
  StringSet names = algebra.no_strings();
  for (const NamedValue& property : shape.named) names = algebra.unite(names, algebra.string(property.name));
  for (const Pattern& pattern : patterns) names = algebra.unite(names, pattern.names);
  return names;
}

// Names that propertyNames does not allow are those of no property.
void narrow_names(Evaluator& evaluator, const json::value& schema, ObjectShape& shape) {
  const json::value* value = evaluator.document.find(schema, "propertyNames");
  if (value == nullptr) return;
  Algebra& algebra = evaluator.algebra;
  const StringSet names = evaluator.values(evaluator.subschema(schema, "propertyNames", *value)).strings;
  for (NamedValue& property : shape.named) {
    if (!algebra.has(names, property.name)) property.value = evaluator.terms.never();
  }
  for (NameClass& one : shape.classes) one.names = algebra.intersect(one.names, names);
  std::erase_if(shape.classes, [&](const NameClass& one) { return evaluator.builder.is_nothing(one.names.texts); });
}

}  // namespace

std::vector<ObjectShape> read_objects(Evaluator& evaluator, const json::value& schema) {
  constexpr std::array<std::string_view, 7> kKeywords = {"properties",   "patternProperties", "additionalProperties",
                                                         "required",     "minProperties",     "maxProperties",
                                                         "propertyNames"};
  const bool has_any = std::ranges::any_of(
      kKeywords, [&](std::string_view keyword) { return evaluator.document.find(schema, keyword) != nullptr; });
  if (!has_any) return {evaluator.algebra.any_object()};
  Algebra& algebra = evaluator.algebra;
  ObjectShape shape;
  const std::vector<Pattern> patterns = read_patterns(evaluator, schema);
  if (const json::object* properties = evaluator.map(schema, "properties")) {
    for (const auto& member : *properties) {
      Conjunction value = evaluator.subschema(schema, "properties", member.value());
      for (const Pattern& pattern : patterns) {
        if (algebra.has(pattern.names, member.key())) value = evaluator.terms.both(value, pattern.value);
      }
      shape.named.push_back({member.key(), std::move(value)});
    }
  }
  const json::value* additional = evaluator.document.find(schema, "additionalProperties");
  shape.classes = classes_of(
      evaluator, schema, patterns,
      additional == nullptr ? Conjunction{} : evaluator.subschema(schema, "additionalProperties", *additional));
  if (evaluator.document.uses("unevaluatedProperties")) {
    shape.evaluated = additional != nullptr ? algebra.all_strings() : evaluated_names(algebra, shape, patterns);
  }
  read_required(evaluator, schema, shape);
  narrow_names(evaluator, schema, shape);
  shape.min = evaluator.count(schema, "minProperties").value_or(0);
  shape.max = evaluator.count(schema, "maxProperties").value_or(kNoMaximum);
  return {std::move(shape)};
}

}  // namespace quire::schema
