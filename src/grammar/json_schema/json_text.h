// How JSON is written: numbers, strings, punctuation with whitespace.
#pragma once

#include "grammar/grammar.h"
#include "grammar/json_schema.h"

namespace quire::schema {

struct JsonText {
  JsonText(GrammarBuilder& builder, const JsonForm& form);

  Regex decimals;         // numbers without exponents
  Regex numbers;          // and with
  Regex integers;         // without a fraction
  Regex short_decimals;   // without zeros at the end of a fraction
  Regex whole_decimals;   // the same, and with .0
  Regex characters;       // any string, without escapes
  Regex escaped_strings;  // between quotes, with any escapes that JSON has
  Regex quote;
  Regex space;  // where whitespace may stand
  Symbol open_object, close_object, empty_object;
  Symbol open_array, close_array, empty_array;
  Symbol comma;
  Regex colon;
};

}  // namespace quire::schema
