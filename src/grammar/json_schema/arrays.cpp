// items, prefixItems, additionalItems, minItems, maxItems, contains, uniqueItems.
#include "grammar/json_schema/evaluator.h"

namespace quire::schema {
namespace {

void read_items(Evaluator& evaluator, const json::value& schema, ArrayShape& shape) {
  const SchemaDocument& document = evaluator.document;
  const json::value* items = document.find(schema, "items");
  const bool may_be_list = document.draft() != Draft::k2020;
  bool looks_at_all = false;
  if (const json::array* prefix = evaluator.list(schema, "prefixItems")) {
    for (const json::value& item : *prefix) shape.prefix.push_back(evaluator.subschema(schema, "prefixItems", item));
  }
  if (items != nullptr && items->is_array() && may_be_list) {
    for (const json::value& item : items->get_array()) {
      shape.prefix.push_back(evaluator.subschema(schema, "items", item));
    }
    if (const json::value* rest = document.find(schema, "additionalItems")) {
      shape.rest = evaluator.subschema(schema, "additionalItems", *rest);
      looks_at_all = true;
    }
  } else if (items != nullptr) {
    shape.rest = evaluator.subschema(schema, "items", *items);
    looks_at_all = true;
  }
  if (!document.uses("unevaluatedItems")) return;
  shape.num_evaluated = looks_at_all ? kNoMaximum : static_cast<int64_t>(shape.prefix.size());
}

void read_contains(Evaluator& evaluator, const json::value& schema, ArrayShape& shape) {
  const json::value* contains = evaluator.document.find(schema, "contains");
  if (contains == nullptr) return;
  shape.has_contains = evaluator.document.draft() != Draft::k2019 && evaluator.document.uses("unevaluatedItems");
  Contained part{.item = evaluator.subschema(schema, "contains", *contains)};
  part.min = evaluator.count(schema, "minContains").value_or(1);
  part.max = evaluator.count(schema, "maxContains").value_or(kNoMaximum);
  if (part.min > 0 || part.max != kNoMaximum) shape.contained.push_back(std::move(part));
}

}  // namespace

ArrayShape read_arrays(Evaluator& evaluator, const json::value& schema) {
  ArrayShape shape;
  read_items(evaluator, schema, shape);
  shape.min = evaluator.count(schema, "minItems").value_or(0);
  shape.max = evaluator.count(schema, "maxItems").value_or(kNoMaximum);
  read_contains(evaluator, schema, shape);
  if (const json::value* unique = evaluator.document.find(schema, "uniqueItems")) {
    if (!unique->is_bool()) evaluator.document.wrong(schema, "uniqueItems", "it should be true or false");
    const bool has_few = shape.max == 0 || shape.max == 1 || (is_never(shape.rest) && shape.prefix.size() <= 1);
    if (unique->get_bool() && !has_few) shape.distinct = &schema;
  }
  return shape;
}

}  // namespace quire::schema
