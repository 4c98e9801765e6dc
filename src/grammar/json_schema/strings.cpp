// minLength, maxLength, pattern, format.
#include "base/error.h"
#include "grammar/json_schema/evaluator.h"

namespace quire::schema {
namespace {

Regex pattern_strings(Evaluator& evaluator, const json::value& schema, const json::value& pattern) {
  if (!pattern.is_string()) evaluator.document.wrong(schema, "pattern", "it should be a string");
  try {
    return evaluator.builder.expression(std::string_view(pattern.get_string()), false);
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kLimit) throw;
    fail(error.code(), "the JSON schema's pattern at {}: {}", evaluator.document.pointer(pattern), error.what());
  }
}

}  // namespace

StringSet read_strings(Evaluator& evaluator, const json::value& schema) {
  StringSet strings = evaluator.algebra.all_strings();
  const auto narrow = [&](Regex texts) { strings = evaluator.algebra.intersect(strings, StringSet{.texts = texts}); };
  const auto min = evaluator.count(schema, "minLength");
  const auto max = evaluator.count(schema, "maxLength");
  if (min.value_or(0) > 0 || max) {
    const bool is_possible = !max || min.value_or(0) <= *max;
    narrow(is_possible
               ? evaluator.builder.repeat(evaluator.builder.any_character(), min.value_or(0), max.value_or(kNoMaximum))
               : evaluator.builder.nothing());
  }
  if (const json::value* pattern = evaluator.document.find(schema, "pattern")) {
    narrow(pattern_strings(evaluator, schema, *pattern));
  }
  if (const json::value* format = evaluator.document.find(schema, "format")) {
    if (!format->is_string()) evaluator.document.wrong(schema, "format", "it should be a string");
    if (const auto texts = format_strings(evaluator.builder, std::string_view(format->get_string()))) narrow(*texts);
  }
  return strings;
}

}  // namespace quire::schema
