// Objects as symbols. The properties come in the order in which the schema names them, the others after these; or in
// any order. Where properties in the schema's order are counted, there is a rule for each state.
#include <algorithm>
#include <array>
#include <map>
#include <tuple>

#include "base/error.h"
#include "grammar/json_schema/writer.h"

namespace quire::schema {
namespace {

constexpr size_t kMaxStates = 20'000;
constexpr size_t kMaxAnyOrder = 8;  // properties whose every order is a state, where some must meet conditions

Symbol named_member(Writer& writer, const NamedValue& property) {
  GrammarBuilder& builder = writer.builder();
  const Regex name = writer.quoted({.texts = builder.literal(property.name)});
  return writer.sequence(
      {builder.terminal(builder.concat(std::array{name, writer.text().colon})), writer.rule(property.value)});
}

Symbol class_member(Writer& writer, const NameClass& names) {
  GrammarBuilder& builder = writer.builder();
  const Regex name = writer.quoted(names.names);
  return writer.sequence(
      {builder.terminal(builder.concat(std::array{name, writer.text().colon})), writer.rule(names.value)});
}

// The shape without what cannot be there, and classes without the named ones.
struct Members {
  std::vector<NamedValue> named;
  std::vector<NameClass> classes;
};
Members members_of(Writer& writer, const ObjectShape& shape) {
  Members members;
  for (const NamedValue& property : shape.named) {
    const bool is_required = shape.required.contains(property.name);
    if (is_required || !is_never(property.value)) members.named.push_back(property);
  }
  for (const NameClass& names : shape.classes) {
    NameClass others{writer.evaluator().algebra.without(names.names, shape.named), names.value};
    if (!writer.builder().is_nothing(others.names.texts)) members.classes.push_back(std::move(others));
  }
  return members;
}

class PlainObject {
 public:
  PlainObject(Writer& writer, const ObjectShape& shape, const Members& members)
      : writer_(writer), text_(writer.text()), shape_(shape) {
    for (const NamedValue& property : members.named) {
      pairs_.push_back({named_member(writer, property), shape.required.contains(property.name)});
    }
    std::vector<Symbol> others;
    for (const NameClass& names : members.classes) others.push_back(class_member(writer, names));
    has_others_ = !others.empty();
    other_ = has_others_ ? writer.builder().choice(others) : writer.empty();
    more_others_ = has_others_ ? writer.builder().repeat(next(other_), 0) : writer.empty();
  }
  Symbol write();

 private:
  struct Pair {
    Symbol symbol;
    bool is_required;
  };
  Symbol next(Symbol member) { return writer_.sequence({text_.comma, member}); }
  Symbol around_required(size_t first_required);
  Symbol optional_ones();

  Writer& writer_;
  const JsonText& text_;
  const ObjectShape& shape_;
  std::vector<Pair> pairs_;
  bool has_others_ = false;
  Symbol other_, more_others_;
};

// Before the first that is required a member has its comma after it, later ones before.
Symbol PlainObject::around_required(size_t first_required) {
  std::vector<Symbol> parts = {text_.open_object};
  for (size_t i = 0; i < pairs_.size(); ++i) {
    const Symbol pair = pairs_[i].symbol;
    if (i < first_required) {
      parts.push_back(writer_.optional(writer_.sequence({pair, text_.comma})));
    } else if (i == first_required) {
      parts.push_back(pair);
    } else {
      parts.push_back(pairs_[i].is_required ? next(pair) : writer_.optional(next(pair)));
    }
  }
  parts.push_back(more_others_);
  parts.push_back(text_.close_object);
  return writer_.builder().sequence(parts);
}

Symbol PlainObject::optional_ones() {
  GrammarBuilder& builder = writer_.builder();
  std::vector<Symbol> choices;
  Symbol tail = more_others_;
  if (has_others_) choices.push_back(writer_.sequence({other_, more_others_}));
  for (size_t i = pairs_.size(); i-- > 0;) {
    choices.push_back(writer_.sequence({pairs_[i].symbol, tail}));
    if (i == 0) break;
    const Symbol rule = builder.declare("members");
    builder.define(rule, writer_.sequence({writer_.optional(next(pairs_[i].symbol)), tail}));
    tail = rule;
  }
  std::vector<Symbol> objects;
  if (shape_.min == 0) objects.push_back(text_.empty_object);
  if (!choices.empty()) {
    objects.push_back(writer_.sequence({text_.open_object, builder.choice(choices), text_.close_object}));
  }
  return objects.empty() ? builder.terminal(builder.nothing()) : builder.choice(objects);
}

Symbol PlainObject::write() {
  const auto required = std::ranges::find(pairs_, true, &Pair::is_required);
  if (required == pairs_.end()) return optional_ones();
  return around_required(static_cast<size_t>(required - pairs_.begin()));
}

class CountedObject {
 public:
  CountedObject(Writer& writer, const ObjectShape& shape, const Members& members)
      : writer_(writer),
        shape_(shape),
        members_(members),
        has_any_order_(writer.has_any_order() && members.named.size() <= kMaxAnyOrder) {
    max_count_ = shape.max == kNoMaximum ? shape.min : std::max(shape.min, shape.max);
  }
  Symbol write();

 private:
  struct State {
    uint64_t named = 0;  // how many of the named ones are behind; in any order, which of them, as bits
    int64_t count = 0;
    uint64_t witnesses = 0;  // those that were found, as bits
    bool is_first = true;
    auto operator<=>(const State&) const = default;
  };
  Symbol rule(const State& state);
  void define(const State& state);
  bool may_end(const State& state) const;
  bool is_behind(const State& state, size_t index) const;
  bool has_open_required(const State& state) const;
  void add_named(const State& state, std::vector<Symbol>& choices);
  void add_others(const State& state, std::vector<Symbol>& choices);
  // After a member that was found to be these witnesses too.
  Symbol member_and_rest(const State& state, State next, uint64_t found, Symbol member);
  template <typename Visit>
  void for_each_subset(const State& state, Visit visit);

  Writer& writer_;
  const ObjectShape& shape_;
  const Members& members_;
  bool has_any_order_;
  int64_t max_count_ = 0;
  std::map<State, Symbol> rules_;
  std::vector<State> undefined_;
};

bool CountedObject::is_behind(const State& state, size_t index) const {
  return has_any_order_ ? ((state.named >> index) & 1) != 0 : index < state.named;
}

bool CountedObject::has_open_required(const State& state) const {
  for (size_t i = 0; i < members_.named.size(); ++i) {
    if (!is_behind(state, i) && shape_.required.contains(members_.named[i].name)) return true;
  }
  return false;
}

bool CountedObject::may_end(const State& state) const {
  const uint64_t all_witnesses = (uint64_t{1} << shape_.witnesses.size()) - 1;
  return state.count >= shape_.min && state.witnesses == all_witnesses && !has_open_required(state);
}

Symbol CountedObject::rule(const State& state) {
  const auto known = rules_.find(state);
  if (known != rules_.end()) return known->second;
  if (rules_.size() == kMaxStates) {
    fail(ErrorCode::kUnsupported, "the JSON schema counts the properties of an object in more than {} ways",
         kMaxStates);
  }
  const Symbol rule = writer_.builder().declare("members");
  rules_.emplace(state, rule);
  undefined_.push_back(state);
  return rule;
}

template <typename Visit>
void CountedObject::for_each_subset(const State& state, Visit visit) {
  const uint64_t all = (uint64_t{1} << shape_.witnesses.size()) - 1;
  for (uint64_t subset = 0; subset <= all; ++subset) {
    if ((subset & state.witnesses) == 0) visit(subset);
  }
}

Symbol CountedObject::member_and_rest(const State& state, State next, uint64_t found, Symbol member) {
  next.witnesses |= found;
  next.is_first = false;
  next.count = std::min(state.count + 1, max_count_);
  const Symbol rest = rule(next);
  return state.is_first ? writer_.sequence({member, rest}) : writer_.sequence({writer_.text().comma, member, rest});
}

void CountedObject::add_named(const State& state, std::vector<Symbol>& choices) {
  Evaluator& evaluator = writer_.evaluator();
  for (size_t i = 0; i < members_.named.size(); ++i) {
    if (is_behind(state, i)) continue;
    const NamedValue& property = members_.named[i];
    for_each_subset(state, [&](uint64_t subset) {
      NamedValue member = property;
      for (size_t j = 0; j < shape_.witnesses.size(); ++j) {
        if (((subset >> j) & 1) == 0) continue;
        if (!evaluator.algebra.has(shape_.witnesses[j].names, member.name)) return;
        member.value = evaluator.terms.both(member.value, shape_.witnesses[j].value);
      }
      State next = state;
      next.named = has_any_order_ ? state.named | (uint64_t{1} << i) : i + 1;
      choices.push_back(member_and_rest(state, next, subset, named_member(writer_, member)));
    });
    if (!has_any_order_ && shape_.required.contains(property.name)) break;
  }
}

void CountedObject::add_others(const State& state, std::vector<Symbol>& choices) {
  Evaluator& evaluator = writer_.evaluator();
  if (!has_any_order_ && has_open_required(state)) return;
  State next = state;
  if (!has_any_order_) next.named = members_.named.size();
  for (const NameClass& names : members_.classes) {
    for_each_subset(state, [&](uint64_t subset) {
      NameClass member = names;
      for (size_t j = 0; j < shape_.witnesses.size(); ++j) {
        if (((subset >> j) & 1) == 0) continue;
        member.names = evaluator.algebra.intersect(member.names, shape_.witnesses[j].names);
        member.value = evaluator.terms.both(member.value, shape_.witnesses[j].value);
      }
      choices.push_back(member_and_rest(state, next, subset, class_member(writer_, member)));
    });
  }
}

void CountedObject::define(const State& state) {
  std::vector<Symbol> choices;
  if (!state.is_first && may_end(state)) choices.push_back(writer_.empty());
  if (shape_.max == kNoMaximum || state.count < shape_.max) {
    add_named(state, choices);
    add_others(state, choices);
  }
  GrammarBuilder& builder = writer_.builder();
  builder.define(rules_.at(state), choices.empty() ? builder.terminal(builder.nothing()) : builder.choice(choices));
}

Symbol CountedObject::write() {
  constexpr size_t kMaxWitnesses = 4;
  if (shape_.witnesses.size() > kMaxWitnesses) {
    fail(ErrorCode::kUnsupported, "the JSON schema has more than {} conditions that some property must meet",
         kMaxWitnesses);
  }
  const Symbol members = rule(State{});
  while (!undefined_.empty()) {
    const State state = undefined_.back();
    undefined_.pop_back();
    define(state);
  }
  const JsonText& text = writer_.text();
  const Symbol full = writer_.sequence({text.open_object, members, text.close_object});
  return may_end(State{}) ? writer_.builder().choice(std::array{text.empty_object, full}) : full;
}

Symbol unordered_object(Writer& writer, const ObjectShape& shape, const Members& members) {
  GrammarBuilder& builder = writer.builder();
  const JsonText& text = writer.text();
  GrammarBuilder::Members list{.separator = text.comma, .min = shape.min, .max = shape.max};
  for (const NamedValue& property : members.named) {
    auto& group = shape.required.contains(property.name) ? list.required : list.optional;
    group.push_back(named_member(writer, property));
  }
  for (const NameClass& names : members.classes) list.others.push_back(class_member(writer, names));
  const Symbol full = writer.sequence({text.open_object, builder.unordered(list), text.close_object});
  const bool may_be_empty = shape.min == 0 && shape.required.empty();
  return may_be_empty ? builder.choice(std::array{text.empty_object, full}) : full;
}

bool needs_counting(const ObjectShape& shape, const Members& members) {
  const auto num_required = static_cast<int64_t>(shape.required.size());
  const bool has_minimum = shape.min > std::max<int64_t>(num_required, 1);
  const bool has_maximum =
      shape.max != kNoMaximum && (!members.classes.empty() || static_cast<int64_t>(members.named.size()) > shape.max);
  return has_minimum || has_maximum || !shape.witnesses.empty();
}

}  // namespace

Symbol write_object(Writer& writer, const ObjectShape& shape) {
  const Members members = members_of(writer, shape);
  const bool may_reorder = writer.has_any_order() && members.named.size() + members.classes.size() > 1;
  if (may_reorder && shape.witnesses.empty()) return unordered_object(writer, shape, members);
  if (may_reorder || needs_counting(shape, members)) return CountedObject(writer, shape, members).write();
  return PlainObject(writer, shape, members).write();
}

}  // namespace quire::schema
