// Decimal texts of numbers as regular languages: all that are at least, or at most, a bound.
#pragma once

#include <optional>
#include <string>

#include "grammar/grammar.h"

namespace quire::schema {

// A number's digits, without zeros that mean nothing: -0.5 is {true, "0", "5"}.
struct Decimal {
  bool is_negative = false;
  std::string whole = "0";
  std::string fraction = {};

  // Of a finite number: as exactly as its shortest text.
  static Decimal of(double value);
  bool is_zero() const { return whole == "0" && fraction.empty(); }
};

// Numbers without exponents.
Regex decimals_from(GrammarBuilder& builder, const Decimal& bound, bool is_exclusive);
Regex decimals_to(GrammarBuilder& builder, const Decimal& bound, bool is_exclusive);
Regex decimals_equal(GrammarBuilder& builder, const Decimal& value);
// The multiples of a positive number, or nullopt where its digits are too many.
std::optional<Regex> decimals_multiple_of(GrammarBuilder& builder, const Decimal& divisor);

// The same numbers, with exponents too where that is sure to stay among them: all numbers of a sign are, or all of a
// sign that are smaller than 1 (which programs write as 1e-06).
Regex with_exponents(GrammarBuilder& builder, Regex decimals);

}  // namespace quire::schema
