// Arrays without equal items: a rule for each set of constants that were written, if these are few.
#include <algorithm>
#include <bit>
#include <map>

#include "base/error.h"
#include "grammar/json_schema/writer.h"

namespace quire::schema {
namespace {

constexpr size_t kMaxConstants = 10;
constexpr int kMaxDepth = 8;  // of references and combinations in search of constants

const json::value kNull, kFalse = false, kTrue = true;

// Constants that the schema names for a value; whether there are others is not asked.
void add_named_constants(Evaluator& evaluator, const json::value& schema, int depth,
                         std::vector<const json::value*>& constants) {
  const SchemaDocument& document = evaluator.document;
  if (depth > kMaxDepth) return;
  if (const json::value* constant = document.find(schema, "const")) constants.push_back(constant);
  for (const std::string_view keyword : {"enum", "allOf", "anyOf", "oneOf"}) {
    const json::value* list = document.find(schema, keyword);
    if (list == nullptr || !list->is_array()) continue;
    for (const json::value& one : list->get_array()) {
      if (keyword == "enum") {
        constants.push_back(&one);
      } else {
        add_named_constants(evaluator, one, depth + 1, constants);
      }
    }
  }
  if (document.find(schema, "$ref") != nullptr) {
    add_named_constants(evaluator, evaluator.document.resolve(schema, "$ref"), depth + 1, constants);
  }
}

class DistinctArray {
 public:
  DistinctArray(Writer& writer, const ArrayShape& shape)
      : writer_(writer), evaluator_(writer.evaluator()), terms_(writer.evaluator().terms), shape_(shape) {
    find_constants();
  }
  Symbol write();

 private:
  void find_constants();
  void refuse() const {
    evaluator_.document.unsupported(*shape_.distinct, "uniqueItems",
                                    "it is where the items are up to 10 constants that the schema lists");
  }
  const Conjunction& item_at(size_t index) const {
    return index < shape_.prefix.size() ? shape_.prefix[index] : shape_.rest;
  }
  Symbol rule(uint32_t written);
  void define(uint32_t written);

  Writer& writer_;
  Evaluator& evaluator_;
  TermTable& terms_;
  const ArrayShape& shape_;
  std::vector<Conjunction> constants_;
  std::map<uint32_t, Symbol> rules_;  // by the constants that were written, as bits
  std::vector<uint32_t> undefined_;
};

// Those that an item may be, none of them equal to another; nothing else may be one.
void DistinctArray::find_constants() {
  std::vector<const json::value*> named = {&kNull, &kFalse, &kTrue};
  std::vector<Conjunction> items = shape_.prefix;
  if (!is_never(shape_.rest)) items.push_back(shape_.rest);
  for (const Conjunction& item : items) {
    for (const Term term : item) {
      const Condition& condition = terms_[term];
      if (condition.kind == Condition::Kind::kSchema) add_named_constants(evaluator_, *condition.value, 0, named);
      if (condition.kind == Condition::Kind::kConstant) named.push_back(condition.value);
    }
  }
  for (const json::value* value : named) {
    const Conjunction constant = terms_.constant(*value);
    const auto meets = [&](const Conjunction& other) { return !evaluator_.is_empty(terms_.both(other, constant)); };
    if (std::ranges::none_of(items, meets) || std::ranges::any_of(constants_, meets)) continue;
    if (constants_.size() == kMaxConstants) refuse();
    constants_.push_back(constant);
  }
  for (const Conjunction& item : items) {
    Conjunction others = item;
    for (const Conjunction& constant : constants_) others = terms_.both(others, terms_.negation(constant));
    if (!evaluator_.is_empty(others)) refuse();
  }
}

Symbol DistinctArray::rule(uint32_t written) {
  const auto [known, is_new] = rules_.try_emplace(written);
  if (!is_new) return known->second;
  undefined_.push_back(written);
  return known->second = writer_.builder().declare("items");
}

void DistinctArray::define(uint32_t written) {
  GrammarBuilder& builder = writer_.builder();
  const int index = std::popcount(written);
  std::vector<Symbol> choices;
  if (index > 0 && index >= shape_.min) choices.push_back(writer_.empty());
  for (size_t i = 0; i < constants_.size(); ++i) {
    const bool has_room = shape_.max == kNoMaximum || index < shape_.max;
    if (!has_room || ((written >> i) & 1) != 0) continue;
    const Symbol value = writer_.rule(terms_.both(item_at(static_cast<size_t>(index)), constants_[i]));
    const Symbol rest = rule(written | (uint32_t{1} << i));
    choices.push_back(index == 0 ? writer_.sequence({value, rest})
                                 : writer_.sequence({writer_.text().comma, value, rest}));
  }
  builder.define(rules_.at(written), choices.empty() ? builder.terminal(builder.nothing()) : builder.choice(choices));
}

Symbol DistinctArray::write() {
  if (!shape_.contained.empty()) {
    evaluator_.document.unsupported(*shape_.distinct, "uniqueItems", "beside conditions on what the array contains");
  }
  const JsonText& text = writer_.text();
  const Symbol full = writer_.sequence({text.open_array, rule(0), text.close_array});
  while (!undefined_.empty()) {
    const uint32_t written = undefined_.back();
    undefined_.pop_back();
    define(written);
  }
  return shape_.min == 0 ? writer_.builder().choice(std::vector{text.empty_array, full}) : full;
}

}  // namespace

Symbol write_distinct_array(Writer& writer, const ArrayShape& shape) { return DistinctArray(writer, shape).write(); }

}  // namespace quire::schema
