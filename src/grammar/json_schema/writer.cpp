#include "grammar/json_schema/writer.h"

#include <array>

#include "grammar/json_schema/decimal.h"

namespace quire::schema {

Symbol Writer::rule(const Conjunction& conjunction) {
  const auto known = rules_.find(conjunction);
  if (known != rules_.end()) return known->second;
  const Symbol rule = builder_.declare("value");
  rules_.emplace(conjunction, rule);
  unwritten_.push_back(conjunction);
  return rule;
}

Symbol Writer::write(const Conjunction& conjunction) {
  const Symbol root = rule(conjunction);
  while (!unwritten_.empty()) {
    const Conjunction next = std::move(unwritten_.back());
    unwritten_.pop_back();
    evaluator_.builder.check_time();
    builder_.define(rules_.at(next), write_values(evaluator_.values(next)));
  }
  return root;
}

Regex Writer::quoted(const StringSet& strings) {
  const Regex texts = strings.has_escapes ? text_.escaped_strings : builder_.json_escaped(strings.texts);
  return builder_.concat(std::array{text_.quote, texts, text_.quote});
}

Regex Writer::number_text(const NumberSet& numbers) {
  if (numbers.has_exponents) return text_.numbers;
  if (numbers.are_integers) return builder_.all_of(std::array{numbers.decimals, text_.integers});
  if (numbers.are_constants) {
    const Regex form = numbers.may_be_whole ? text_.whole_decimals : text_.short_decimals;
    return builder_.all_of(std::array{numbers.decimals, form});
  }
  const auto [known, is_new] = number_texts_.try_emplace(numbers.decimals.id, numbers.decimals);
  if (is_new) known->second = with_exponents(builder_, numbers.decimals);
  return known->second;
}

Symbol Writer::write_values(const Values& values) {
  std::vector<Regex> scalars;
  if (values.has_null) scalars.push_back(builder_.literal("null"));
  if (values.has_false) scalars.push_back(builder_.literal("false"));
  if (values.has_true) scalars.push_back(builder_.literal("true"));
  if (values.numbers.decimals != builder_.nothing()) scalars.push_back(number_text(values.numbers));
  if (values.strings.texts != builder_.nothing()) scalars.push_back(quoted(values.strings));
  std::vector<Symbol> choices;
  if (!scalars.empty()) choices.push_back(builder_.terminal(builder_.any_of(scalars)));
  for (const ObjectShape& shape : values.objects) choices.push_back(write_object(*this, shape));
  for (const ArrayShape& shape : values.arrays) choices.push_back(write_array(*this, shape));
  return choices.empty() ? builder_.terminal(builder_.nothing()) : builder_.choice(choices);
}

}  // namespace quire::schema
