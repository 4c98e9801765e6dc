// From a schema to the set of its valid values: each family of keywords has a file, whose function narrows the set.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string_view>

#include "grammar/json_schema/algebra.h"
#include "grammar/json_schema/document.h"

namespace quire::schema {

class Evaluator {
 public:
  Evaluator(GrammarBuilder& builder, const JsonText& text, const json::value& root);

  // The values that meet all conditions. What is nested in them stays conditions, so recursive schemas are finite.
  Values values(const Conjunction& conjunction);
  const Values& schema_values(const json::value& schema);
  Values constant_values(const json::value& constant);
  // Whether it is certain that nothing meets the conjunction; looks a few levels deep.
  bool is_empty(const Conjunction& conjunction);

  // For the families.
  GrammarBuilder& builder;
  const JsonText& text;
  SchemaDocument document;
  TermTable terms;
  Algebra algebra;

  // A keyword's value as a schema, a list of schemas or a count; wrong types are refused.
  Conjunction subschema(const json::value& schema, std::string_view keyword, const json::value& value);
  const json::array* list(const json::value& schema, std::string_view keyword);
  const json::object* map(const json::value& schema, std::string_view keyword);
  // As large as a number of characters, items or properties may be; more is as good as no maximum.
  std::optional<int64_t> count(const json::value& schema, std::string_view keyword);

 private:
  struct EvaluationStopped {};

  Values evaluate(const json::value& schema);

  std::map<const json::value*, std::unique_ptr<const Values>> values_;
  std::set<const json::value*> in_progress_;
  const json::value* current_;  // the last of them
  std::map<Conjunction, bool> emptiness_;
  int num_probes_ = 0;  // nested questions for emptiness
};

// Each: the values that the keywords of its family leave, all where the schema has none of them.
NumberSet read_numbers(Evaluator& evaluator, const json::value& schema);
StringSet read_strings(Evaluator& evaluator, const json::value& schema);
ArrayShape read_arrays(Evaluator& evaluator, const json::value& schema);
std::vector<ObjectShape> read_objects(Evaluator& evaluator, const json::value& schema);
// `type`, `enum`, `const`.
Values read_types(Evaluator& evaluator, const json::value& schema);
// allOf, anyOf, oneOf, not, if, references, dependencies: narrows `values`.
Values combine(Evaluator& evaluator, const json::value& schema, Values values);

// The set of integers; draft 4 takes the text for the number: 1.0 is no integer there.
NumberSet integers(Evaluator& evaluator);
// The number alone.
NumberSet constant_number(Evaluator& evaluator, const json::value& number);
// The strings of a format, or nullopt where Quire does not check it.
std::optional<Regex> format_strings(GrammarBuilder& builder, std::string_view format);

}  // namespace quire::schema
