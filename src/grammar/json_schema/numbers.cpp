// minimum, maximum, exclusiveMinimum, exclusiveMaximum, multipleOf; the numbers of const and enum.
#include <cmath>
#include <optional>

#include "base/error.h"
#include "grammar/json_schema/decimal.h"
#include "grammar/json_schema/evaluator.h"

namespace quire::schema {
namespace {

Decimal decimal(const Evaluator& evaluator, const json::value& number) {
  Decimal value;
  if (number.is_double()) {
    if (std::isfinite(number.get_double())) return Decimal::of(number.get_double());
    fail(ErrorCode::kInvalidArgument, "the JSON schema's number at {} is larger than any that is read",
         evaluator.document.pointer(number));
  }
  value.is_negative = number.is_int64() && number.get_int64() < 0;
  value.whole = number.is_int64() ? std::to_string(number.get_int64()) : std::to_string(number.get_uint64());
  if (value.is_negative) value.whole.erase(0, 1);
  return value;
}

// `exclusive` is a bound of its own, or in draft 4 says how the other bound counts.
NumberSet bounded(Evaluator& evaluator, const json::value& schema, std::string_view inclusive,
                  std::string_view exclusive) {
  NumberSet numbers = evaluator.algebra.all_numbers();
  const json::value* bound = evaluator.document.find(schema, inclusive);
  const json::value* other = evaluator.document.find(schema, exclusive);
  const Draft draft = evaluator.document.draft();
  const bool is_old = other != nullptr && other->is_bool() && (draft == Draft::k4 || draft == Draft::kUnstated);
  const bool is_minimum = inclusive == "minimum";
  const auto narrow = [&](std::string_view keyword, const json::value* value, bool is_exclusive) {
    if (value == nullptr) return;
    if (!value->is_number()) evaluator.document.wrong(schema, keyword, "it should be a number");
    const auto side = is_minimum ? decimals_from : decimals_to;
    const Regex decimals = side(evaluator.builder, decimal(evaluator, *value), is_exclusive);
    numbers = evaluator.algebra.intersect(numbers, NumberSet{.decimals = decimals});
  };
  narrow(inclusive, bound, is_old && other->get_bool());
  if (!is_old) narrow(exclusive, other, true);
  return numbers;
}

}  // namespace

NumberSet integers(Evaluator& evaluator) {
  if (evaluator.document.draft() == Draft::k4) return {.decimals = evaluator.text.integers, .are_integers = true};
  return {.decimals = evaluator.builder.expression(R"(-?(0|[1-9][0-9]*)(\.0+)?)", true), .are_integers = true};
}

NumberSet constant_number(Evaluator& evaluator, const json::value& number) {
  const Decimal value = decimal(evaluator, number);
  return {.decimals = decimals_equal(evaluator.builder, value),
          .are_constants = true,
          .may_be_whole = number.is_double() && value.fraction.empty()};
}

NumberSet read_numbers(Evaluator& evaluator, const json::value& schema) {
  NumberSet numbers = bounded(evaluator, schema, "minimum", "exclusiveMinimum");
  numbers = evaluator.algebra.intersect(numbers, bounded(evaluator, schema, "maximum", "exclusiveMaximum"));
  if (const json::value* divisor = evaluator.document.find(schema, "multipleOf")) {
    if (!divisor->is_number() || divisor->to_number<double>() <= 0) {
      evaluator.document.wrong(schema, "multipleOf", "it should be a number above 0");
    }
    const std::optional<Regex> multiples = decimals_multiple_of(evaluator.builder, decimal(evaluator, *divisor));
    if (!multiples) evaluator.document.unsupported(schema, "multipleOf", "its digits are too many");
    numbers = evaluator.algebra.intersect(numbers, NumberSet{.decimals = *multiples});
  }
  return numbers;
}

}  // namespace quire::schema
