#include "grammar/json_schema/terms.h"

#include <algorithm>
#include <iterator>

namespace quire::schema {

Term TermTable::intern(Condition condition) {
  const bool is_list = condition.kind == Condition::Kind::kAll;
  const auto next = static_cast<uint32_t>(conditions_.size());
  const bool is_constant = condition.kind == Condition::Kind::kConstant;
  const auto [id, is_new] = is_list ? [&] {
    const auto [at, added] = by_conjunction_.try_emplace(condition.all, next);
    return std::pair(at->second, added);
  }() : [&] {
    const auto [at, added] = by_value_.try_emplace({condition.value, is_constant}, next);
    return std::pair(at->second, added);
  }();
  if (is_new) conditions_.push_back(std::move(condition));
  return {id, true};
}

Conjunction TermTable::schema(const json::value& schema) {
  if (schema.is_bool()) return schema.get_bool() ? Conjunction{} : never();
  if (schema.is_object() && schema.get_object().empty()) return {};
  return {intern({Condition::Kind::kSchema, &schema})};
}

Conjunction TermTable::constant(const json::value& value) { return {intern({Condition::Kind::kConstant, &value})}; }

Conjunction TermTable::negation(const Conjunction& conjunction) {
  Term term = conjunction.size() == 1 ? conjunction.front() : intern({Condition::Kind::kAll, nullptr, conjunction});
  term.holds = !term.holds;
  return term == Term{} ? Conjunction{} : Conjunction{term};
}

Conjunction TermTable::both(const Conjunction& a, const Conjunction& b) const {
  if (is_never(a) || is_never(b)) return never();
  Conjunction all;
  std::ranges::set_union(a, b, std::back_inserter(all));
  const auto contradicts = [](Term one, Term next) { return one.id == next.id; };
  return std::ranges::adjacent_find(all, contradicts) == all.end() ? all : never();
}

}  // namespace quire::schema
