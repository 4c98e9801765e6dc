// From sets of values to symbols of a grammar: a rule for every conjunction that is met somewhere in a schema.
#pragma once

#include <map>
#include <vector>

#include "grammar/json_schema/evaluator.h"

namespace quire::schema {

class Writer {
 public:
  Writer(Evaluator& evaluator, const JsonForm& form)
      : evaluator_(evaluator), builder_(evaluator.builder), text_(evaluator.text), has_any_order_(form.any_order) {}

  // The texts of the values that meet the conjunction, without whitespace around.
  Symbol write(const Conjunction& conjunction);

  // For the writers of arrays and objects: the rule of a value, written later.
  Symbol rule(const Conjunction& conjunction);
  Symbol sequence(std::initializer_list<Symbol> parts) { return builder_.sequence(parts); }
  Symbol empty() { return builder_.terminal(builder_.empty()); }
  Symbol optional(Symbol symbol) { return builder_.repeat(symbol, 0, 1); }
  // The quoted string.
  Regex quoted(const StringSet& strings);

  Evaluator& evaluator() { return evaluator_; }
  GrammarBuilder& builder() { return builder_; }
  const JsonText& text() const { return text_; }
  bool has_any_order() const { return has_any_order_; }

 private:
  Symbol write_values(const Values& values);
  Regex number_text(const NumberSet& numbers);

  Evaluator& evaluator_;
  GrammarBuilder& builder_;
  const JsonText& text_;
  bool has_any_order_;
  std::map<Conjunction, Symbol> rules_;
  std::map<uint32_t, Regex> number_texts_;  // of the ids of decimals
  std::vector<Conjunction> unwritten_;
};

Symbol write_array(Writer& writer, const ArrayShape& shape);
// Arrays without equal items, where the items are few constants.
Symbol write_distinct_array(Writer& writer, const ArrayShape& shape);
Symbol write_object(Writer& writer, const ObjectShape& shape);

}  // namespace quire::schema
