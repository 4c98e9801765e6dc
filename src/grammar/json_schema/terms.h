// Sets of conditions on one value: what stands for "any value valid under these schemas and under none of those".
#pragma once

#include <compare>
#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "base/json.h"

namespace quire::schema {

// A condition that holds, or one that does not. Conditions of one TermTable.
struct Term {
  uint32_t id = 0;
  bool holds = true;
  auto operator<=>(const Term&) const = default;
};

// All of these, in order and without repeats. Empty: any value.
using Conjunction = std::vector<Term>;

struct Condition {
  enum class Kind : uint8_t {
    kSchema,    // the value is valid under `value`
    kConstant,  // it equals `value`
    kAll,       // all of `all`
  };
  Kind kind = Kind::kAll;
  const json::value* value = nullptr;
  Conjunction all = {};
};

class TermTable {
 public:
  TermTable() { intern({}); }  // what always holds; its negation is `never`

  const Condition& operator[](Term term) const { return conditions_[term.id]; }
  Conjunction schema(const json::value& schema);
  Conjunction constant(const json::value& value);
  Conjunction never() const { return {Term{0, false}}; }
  Conjunction negation(const Conjunction& conjunction);
  Conjunction both(const Conjunction& a, const Conjunction& b) const;

 private:
  Term intern(Condition condition);

  std::deque<Condition> conditions_;
  std::map<std::pair<const json::value*, bool>, uint32_t> by_value_;  // and whether it is a constant
  std::map<Conjunction, uint32_t> by_conjunction_;
};

inline bool is_never(const Conjunction& conjunction) { return conjunction == Conjunction{Term{0, false}}; }

}  // namespace quire::schema
