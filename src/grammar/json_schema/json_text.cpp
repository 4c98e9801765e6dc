#include "grammar/json_schema/json_text.h"

#include <initializer_list>
#include <string_view>

namespace quire::schema {
namespace {

// What models write between tokens: nothing, a space, or line breaks and an indentation. Bounded, or a model may write
// spaces for ever.
constexpr std::string_view kSpace = R"( ?|(\r?\n){1,2}([ ]{0,64}|\t{0,16}))";

Regex between(GrammarBuilder& builder, Regex before, std::string_view token, Regex after) {
  return builder.concat(std::initializer_list<Regex>{before, builder.literal(token), after});
}

}  // namespace

JsonText::JsonText(GrammarBuilder& builder, const JsonForm& form) {
  const auto regex = [&](std::string_view pattern) { return builder.expression(pattern, true); };
  decimals = regex(R"(-?(0|[1-9][0-9]*)(\.[0-9]+)?)");
  numbers = regex(R"(-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+\-]?[0-9]+)?)");
  integers = regex("-?(0|[1-9][0-9]*)");
  short_decimals = regex(R"(-?(0|[1-9][0-9]*)(\.[0-9]*[1-9])?)");
  whole_decimals = regex(R"(-?(0|[1-9][0-9]*)(\.([0-9]*[1-9]|0))?)");
  characters = builder.repeat(builder.any_character(), 0);
  escaped_strings = regex(R"(([^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u([0-9a-cA-CefEF][0-9a-fA-F]{3}|[dD][0-7][0-9a-fA-F]{2}|)"
                          R"([dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}))*)");
  quote = builder.literal("\"");
  const Regex nothing = builder.empty();
  space = form.any_whitespace ? regex(kSpace) : nothing;
  const auto token = [&](Regex before, std::string_view text, Regex after) {
    return builder.terminal(between(builder, before, text, after));
  };
  open_object = token(nothing, "{", space);
  close_object = token(space, "}", nothing);
  open_array = token(nothing, "[", space);
  close_array = token(space, "]", nothing);
  const auto empty_pair = [&](std::string_view open, std::string_view close) {
    return builder.terminal(
        builder.concat(std::initializer_list<Regex>{builder.literal(open), space, builder.literal(close)}));
  };
  empty_object = empty_pair("{", "}");
  empty_array = empty_pair("[", "]");
  const Regex one_space = builder.literal(" ");
  comma = form.any_whitespace ? token(nothing, ",", space) : token(nothing, ",", one_space);
  colon = form.any_whitespace ? between(builder, builder.repeat(one_space, 0, 1), ":", space)
                              : between(builder, nothing, ":", one_space);
}

}  // namespace quire::schema
