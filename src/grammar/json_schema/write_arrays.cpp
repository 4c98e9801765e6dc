// Arrays as symbols: the items in order; where some of them must be like this or that, a rule for each state of
// counting.
#include <algorithm>
#include <map>

#include "base/error.h"
#include "grammar/json_schema/writer.h"

namespace quire::schema {
namespace {

constexpr size_t kMaxStates = 4'096;

Symbol plain_array(Writer& writer, const ArrayShape& shape) {
  GrammarBuilder& builder = writer.builder();
  const JsonText& text = writer.text();
  const auto num_prefix = static_cast<int64_t>(shape.prefix.size());
  const bool has_rest = !is_never(shape.rest) && (shape.max == kNoMaximum || shape.max > num_prefix);
  // After item i, from the last one backwards: what may follow.
  const auto next = [&](Symbol item, int64_t index) { return index == 0 ? item : writer.sequence({text.comma, item}); };
  int64_t index = shape.max == kNoMaximum ? num_prefix : std::min(num_prefix, shape.max);
  Symbol tail = writer.empty();
  if (has_rest) {
    const Symbol item = writer.rule(shape.rest);
    const Symbol more = writer.sequence({text.comma, item});
    const int64_t min = std::max<int64_t>(shape.min - num_prefix, 0);
    const int64_t max = shape.max == kNoMaximum ? kNoMaximum : shape.max - num_prefix;
    if (num_prefix > 0) {
      tail = builder.repeat(more, min, max);
    } else {
      const int64_t max_more = max == kNoMaximum ? kNoMaximum : max - 1;
      tail = writer.sequence({item, builder.repeat(more, std::max<int64_t>(min - 1, 0), max_more)});
    }
  }
  const bool may_be_empty = shape.min == 0;
  while (index-- > 0) {
    const Symbol rest = writer.sequence({next(writer.rule(shape.prefix[static_cast<size_t>(index)]), index), tail});
    if (index == 0 || index < shape.min) {
      tail = rest;
    } else {
      const Symbol rule = builder.declare("items");
      builder.define(rule, writer.optional(rest));
      tail = rule;
    }
  }
  const bool has_items = has_rest || (num_prefix > 0 && shape.max != 0);
  std::vector<Symbol> choices;
  if (may_be_empty) choices.push_back(text.empty_array);
  if (has_items) choices.push_back(writer.sequence({text.open_array, tail, text.close_array}));
  return choices.empty() ? builder.terminal(builder.nothing()) : builder.choice(choices);
}

// Counts the items, as far as they matter, and those of each condition.
class CountedArray {
 public:
  CountedArray(Writer& writer, const ArrayShape& shape) : writer_(writer), shape_(shape) {
    last_index_ = std::max({int64_t{1}, static_cast<int64_t>(shape.prefix.size()), shape.min, shape.max});
    for (const Contained& part : shape.contained) last_index_ = std::max(last_index_, part.from);
  }
  Symbol write();

 private:
  using State = std::vector<int64_t>;  // the number of items, then of those of each condition
  Symbol rule(const State& state);
  void define(const State& state);
  // The item after this state that meets exactly (where that is counted) or at least the conditions of `subset`.
  Symbol item_and_rest(const State& state, size_t subset);
  bool may_end(const State& state) const;

  Writer& writer_;
  const ArrayShape& shape_;
  int64_t last_index_ = 0;
  std::map<State, Symbol> rules_;
  std::vector<State> undefined_;
};

bool CountedArray::may_end(const State& state) const {
  if (state[0] < shape_.min) return false;
  for (size_t i = 0; i < shape_.contained.size(); ++i) {
    if (state[i + 1] < shape_.contained[i].min) return false;
  }
  return true;
}

Symbol CountedArray::item_and_rest(const State& state, size_t subset) {
  TermTable& terms = writer_.evaluator().terms;
  const auto index = static_cast<size_t>(state[0]);
  Conjunction item = index < shape_.prefix.size() ? shape_.prefix[index] : shape_.rest;
  State next = state;
  next[0] = std::min(state[0] + 1, last_index_);
  for (size_t i = 0; i < shape_.contained.size(); ++i) {
    const Contained& part = shape_.contained[i];
    const bool is_met = ((subset >> i) & 1) != 0;
    if (is_met && state[0] < part.from) return writer_.builder().terminal(writer_.builder().nothing());
    if (is_met) {
      item = terms.both(item, part.item);
      const int64_t cap = part.max == kNoMaximum ? part.min : part.max + 1;
      next[i + 1] = std::min(next[i + 1] + 1, cap);
    } else if (part.max != kNoMaximum && state[0] >= part.from) {
      item = terms.both(item, terms.negation(part.item));
    }
    if (part.max != kNoMaximum && next[i + 1] > part.max) {
      return writer_.builder().terminal(writer_.builder().nothing());
    }
  }
  const Symbol value = writer_.rule(item);
  const Symbol rest = rule(next);
  return state[0] == 0 ? writer_.sequence({value, rest}) : writer_.sequence({writer_.text().comma, value, rest});
}

Symbol CountedArray::rule(const State& state) {
  const auto known = rules_.find(state);
  if (known != rules_.end()) return known->second;
  if (rules_.size() == kMaxStates) {
    fail(ErrorCode::kUnsupported, "the JSON schema counts items of an array in more than {} ways", kMaxStates);
  }
  const Symbol rule = writer_.builder().declare("items");
  rules_.emplace(state, rule);
  undefined_.push_back(state);
  return rule;
}

void CountedArray::define(const State& state) {
  std::vector<Symbol> choices;
  if (state[0] > 0 && may_end(state)) choices.push_back(writer_.empty());
  if (shape_.max == kNoMaximum || state[0] < shape_.max) {
    for (size_t subset = 0; subset < (size_t{1} << shape_.contained.size()); ++subset) {
      choices.push_back(item_and_rest(state, subset));
    }
  }
  GrammarBuilder& builder = writer_.builder();
  builder.define(rules_.at(state), choices.empty() ? builder.terminal(builder.nothing()) : builder.choice(choices));
}

Symbol CountedArray::write() {
  constexpr size_t kMaxConditions = 4;
  if (shape_.contained.size() > kMaxConditions) {
    fail(ErrorCode::kUnsupported, "the JSON schema has more than {} conditions on what an array contains",
         kMaxConditions);
  }
  const State start(shape_.contained.size() + 1);
  const Symbol items = rule(start);
  while (!undefined_.empty()) {
    const State state = std::move(undefined_.back());
    undefined_.pop_back();
    define(state);
  }
  const JsonText& text = writer_.text();
  const Symbol full = writer_.sequence({text.open_array, items, text.close_array});
  return may_end(start) ? writer_.builder().choice(std::vector{text.empty_array, full}) : full;
}

}  // namespace

Symbol write_array(Writer& writer, const ArrayShape& shape) {
  if (shape.distinct != nullptr && shape.max != 0 && shape.max != 1) return write_distinct_array(writer, shape);
  return shape.contained.empty() ? plain_array(writer, shape) : CountedArray(writer, shape).write();
}

}  // namespace quire::schema
