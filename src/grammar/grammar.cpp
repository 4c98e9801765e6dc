#include "grammar/grammar.h"

#include <algorithm>
#include <map>
#include <optional>
#include <unordered_map>

#include "base/check.h"
#include "base/error.h"
#include "grammar/expression.h"
#include "grammar/symbols.h"

namespace quire {
namespace {

using Kind = SymbolNode::Kind;
constexpr uint32_t kUndefined = 0xFFFFFFFF;
constexpr size_t kSymbolsPerCheck = 256;  // of time

struct WordsHash {
  size_t operator()(const std::vector<uint32_t>& words) const {
    uint64_t hash = words.size();
    for (const uint32_t word : words) hash = (hash ^ word) * 0x9E3779B97F4A7C15 + (hash >> 31);
    return static_cast<size_t>(hash ^ (hash >> 32));
  }
};

// Properties that symbols pass on to those which use them, until nothing changes: linear in the grammar's size.
class Spread {
 public:
  explicit Spread(const Grammar& grammar) : grammar_(grammar), users_(grammar.symbols.size()) {
    for (uint32_t id = 0; id < grammar.symbols.size(); ++id) {
      for (const uint32_t part : parts_of(id)) users_[part].push_back(id);
    }
  }

  std::span<const uint32_t> parts_of(uint32_t id) const {
    const SymbolNode& node = grammar_.symbols[id];
    switch (node.kind) {
      case Kind::kTerminal:
      case Kind::kSpecial: return {};
      case Kind::kSequence:
      case Kind::kChoice: return grammar_.parts_of(node);
      case Kind::kUnordered: return grammar_.members_of(grammar_.unordered[node.first]);
      case Kind::kRepeat:
      case Kind::kRule: return {&node.first, node.first == kUndefined ? size_t{0} : size_t{1}};
      case Kind::kIfSpecial: return std::span(grammar_.parts).subspan(node.second, 2);
    }
    return {};
  }

  // holds(id, has): whether the property holds for a symbol, by its parts' values.
  template <typename Holds>
  std::vector<bool> run(Holds holds) const {
    std::vector<bool> has(users_.size());
    std::vector<uint32_t> open;
    // A sequence's parts are counted down, or a long one would be read again for each of them.
    std::vector<uint32_t> missing(users_.size());
    for (uint32_t id = 0; id < users_.size(); ++id) {
      const bool needs_all = grammar_.symbols[id].kind == Kind::kSequence;
      missing[id] = needs_all ? static_cast<uint32_t>(parts_of(id).size()) : 0;
      if (needs_all ? missing[id] == 0 : holds(id, has)) {
        has[id] = true;
        open.push_back(id);
      }
    }
    while (!open.empty()) {
      const uint32_t part = open.back();
      open.pop_back();
      for (const uint32_t user : users_[part]) {
        if (has[user]) continue;
        const bool needs_all = grammar_.symbols[user].kind == Kind::kSequence;
        if (needs_all ? --missing[user] == 0 : holds(user, has)) {
          has[user] = true;
          open.push_back(user);
        }
      }
    }
    return has;
  }

 private:
  const Grammar& grammar_;
  std::vector<std::vector<uint32_t>> users_;
};

}  // namespace

struct GrammarBuilder::State {
  explicit State(const GrammarLimits& given)
      : limits(given),
        grammar(RegularLanguages({.max_nodes = given.max_nodes,
                                  .max_depth = 4 * given.max_depth,
                                  .max_memory_bytes = given.max_memory_bytes})) {
    grammar.regular.allow_seconds(given.max_seconds);
  }

  uint32_t add(SymbolNode node, std::span<const uint32_t> parts) {
    std::vector<uint32_t> key = {static_cast<uint32_t>(node.kind), node.first, node.second};
    for (const int64_t bound : {node.min, node.max}) key.push_back(static_cast<uint32_t>(bound));
    key.insert(key.end(), parts.begin(), parts.end());
    if (++num_added % kSymbolsPerCheck == 0) grammar.regular.check_time();
    const auto [entry, is_new] = symbol_ids.try_emplace(std::move(key), static_cast<uint32_t>(grammar.symbols.size()));
    if (!is_new) return entry->second;
    return append(node, parts);
  }

  uint32_t append(SymbolNode node, std::span<const uint32_t> parts) {
    if (grammar.symbols.size() + grammar.parts.size() + parts.size() >= 4 * limits.max_nodes) {
      fail(ErrorCode::kLimit, "the grammar needs more than {} symbols; make it simpler", limits.max_nodes);
    }
    if (node.kind == Kind::kSequence || node.kind == Kind::kChoice) {
      node.first = static_cast<uint32_t>(grammar.parts.size());
      node.second = static_cast<uint32_t>(parts.size());
    } else if (node.kind == Kind::kIfSpecial) {
      node.second = static_cast<uint32_t>(grammar.parts.size());
    }
    grammar.parts.insert(grammar.parts.end(), parts.begin(), parts.end());
    grammar.symbols.push_back(node);
    return static_cast<uint32_t>(grammar.symbols.size() - 1);
  }

  uint32_t name_index(std::string_view name) {
    const auto [entry, is_new] = name_ids.try_emplace(std::string(name), static_cast<uint32_t>(grammar.names.size()));
    if (is_new) grammar.names.emplace_back(name);
    return entry->second;
  }

  void check_count(int64_t min, int64_t max) const {
    if (min < 0 || (max != kNoMaximum && max < min)) {
      fail(ErrorCode::kInvalidArgument, "a repetition of {} to {} times", min, max);
    }
    if (std::max(min, max) > limits.max_repeats) {
      fail(ErrorCode::kLimit, "a repetition of up to {} times; at most {} can be counted", std::max(min, max),
           limits.max_repeats);
    }
  }

  void check_definitions() const {
    std::vector<uint32_t> open = {grammar.root};
    std::vector<bool> seen(grammar.symbols.size());
    const Spread spread(grammar);
    while (!open.empty()) {
      const uint32_t id = open.back();
      open.pop_back();
      if (seen[id]) continue;
      seen[id] = true;
      if (grammar.symbols[id].kind == Kind::kRule && grammar.symbols[id].first == kUndefined) {
        fail(ErrorCode::kInvalidArgument, "the rule '{}' is used but not defined", printable(rule_names.at(id)));
      }
      const auto parts = spread.parts_of(id);
      open.insert(open.end(), parts.begin(), parts.end());
    }
  }

  // Whether members that derive a text make a list of the right length.
  bool derives_text(const UnorderedList& list, const std::vector<bool>& has) const {
    const auto members = grammar.members_of(list);
    const auto derives = [&](uint32_t member) { return has[member]; };
    if (!std::ranges::all_of(members.first(list.num_required), derives)) return false;
    const auto least = std::max<int64_t>({1, list.min, int64_t{list.num_required}});
    if (list.max != kNoMaximum && least > list.max) return false;
    if (std::ranges::any_of(members.subspan(list.num_once), derives)) return true;
    int64_t count = 0;
    for (size_t i = 0; i < list.num_once && count < least; ++i) count += has[members[i]] ? 1 : 0;
    return count >= least;
  }

  void keep_members(UnorderedList& list, const std::vector<bool>& derives) {
    const auto members = std::span(grammar.parts).subspan(list.first, list.num_members);
    uint32_t num_kept = 0, num_once = 0;
    for (size_t i = 0; i < members.size(); ++i) {
      if (!list.is_required(i) && !derives[members[i]]) continue;
      if (!list.may_repeat(i)) ++num_once;
      members[num_kept++] = members[i];
    }
    list.num_members = num_kept;
    list.num_once = num_once;
  }

  // Removes what derives no text, as long as something is left.
  void keep_productive() {
    const std::vector<bool> derives = Spread(grammar).run([&](uint32_t id, const std::vector<bool>& has) {
      const SymbolNode& node = grammar.symbols[id];
      const auto derived = [&](uint32_t part) { return has[part]; };
      switch (node.kind) {
        case Kind::kTerminal: return grammar.regular.is_alive(node.first);
        case Kind::kSpecial: return true;
        case Kind::kSequence: return std::ranges::all_of(grammar.parts_of(node), derived);
        case Kind::kChoice: return std::ranges::any_of(grammar.parts_of(node), derived);
        case Kind::kUnordered: return derives_text(grammar.unordered[node.first], has);
        case Kind::kRepeat: return node.min == 0 || has[node.first];
        case Kind::kRule: return node.first != kUndefined && has[node.first];
        case Kind::kIfSpecial: return has[grammar.parts[node.second]] && has[grammar.parts[node.second + 1]];
      }
      return false;
    });
    if (!derives[grammar.root]) fail(ErrorCode::kInvalidArgument, "no text fits the grammar");
    for (SymbolNode& node : grammar.symbols) {
      if (node.kind == Kind::kChoice) {
        const auto parts = std::span(grammar.parts).subspan(node.first, node.second);
        const auto end = std::remove_if(parts.begin(), parts.end(), [&](uint32_t part) { return !derives[part]; });
        node.second = static_cast<uint32_t>(end - parts.begin());
      } else if (node.kind == Kind::kRepeat && !derives[node.first]) {
        node = {.kind = Kind::kSequence};  // none at all
      } else if (node.kind == Kind::kUnordered) {
        keep_members(grammar.unordered[node.first], derives);
      }
    }
  }

  void mark_nullable() {
    const std::vector<bool> nullable = Spread(grammar).run([&](uint32_t id, const std::vector<bool>& has) {
      const SymbolNode& node = grammar.symbols[id];
      const auto nulls = [&](uint32_t part) { return has[part]; };
      switch (node.kind) {
        case Kind::kTerminal: return grammar.regular.is_nullable(node.first);
        case Kind::kSpecial: return false;
        case Kind::kSequence: return std::ranges::all_of(grammar.parts_of(node), nulls);
        case Kind::kChoice: return std::ranges::any_of(grammar.parts_of(node), nulls);
        case Kind::kUnordered: return false;
        case Kind::kRepeat: return node.min == 0 || has[node.first];
        case Kind::kRule: return node.first != kUndefined && has[node.first];
        case Kind::kIfSpecial: return bool(has[grammar.parts[node.second + 1]]);
      }
      return false;
    });
    for (size_t id = 0; id < nullable.size(); ++id) grammar.symbols[id].is_nullable = nullable[id];
  }

  GrammarLimits limits;
  Grammar grammar;
  std::unordered_map<std::vector<uint32_t>, uint32_t, WordsHash> symbol_ids = {};
  std::unordered_map<std::string, uint32_t> name_ids = {};
  std::unordered_map<uint32_t, std::string> rule_names = {};
  size_t num_added = 0;
  bool is_built = false;
};

GrammarBuilder::GrammarBuilder(GrammarLimits limits) : state_(std::make_unique<State>(limits)) {}
GrammarBuilder::~GrammarBuilder() = default;

// ---- Regular languages

namespace {

std::vector<uint32_t> ids(std::span<const Regex> parts) {
  std::vector<uint32_t> found;
  for (const Regex part : parts) found.push_back(part.id);
  return found;
}

std::vector<uint32_t> ids(std::span<const Symbol> parts) {
  std::vector<uint32_t> found;
  for (const Symbol part : parts) found.push_back(part.id);
  return found;
}

}  // namespace

Regex GrammarBuilder::nothing() { return {RegularLanguages::kNothing}; }
Regex GrammarBuilder::empty() { return {RegularLanguages::kEmpty}; }
Regex GrammarBuilder::literal(std::string_view bytes) { return {state_->grammar.regular.literal(bytes)}; }
Regex GrammarBuilder::character(const CharacterRanges& ranges) { return {state_->grammar.regular.character(ranges)}; }
Regex GrammarBuilder::any_character() { return {state_->grammar.regular.any_character()}; }

Regex GrammarBuilder::concat(std::span<const Regex> parts) {
  uint32_t id = RegularLanguages::kEmpty;
  for (size_t i = parts.size(); i-- > 0;) id = state_->grammar.regular.concat(parts[i].id, id);
  return {id};
}

Regex GrammarBuilder::any_of(std::span<const Regex> parts) { return {state_->grammar.regular.any_of(ids(parts))}; }
Regex GrammarBuilder::all_of(std::span<const Regex> parts) {
  if (parts.empty()) return {state_->grammar.regular.any_text()};
  return {state_->grammar.regular.all_of(ids(parts))};
}

Regex GrammarBuilder::complement(Regex inner) {
  RegularLanguages& regular = state_->grammar.regular;
  return {regular.all_of({regular.any_text(), regular.negate(inner.id)})};
}

Regex GrammarBuilder::repeat(Regex inner, int64_t min, int64_t max) {
  state_->check_count(min, max);
  return {state_->grammar.regular.repeat(inner.id, min, max)};
}

Regex GrammarBuilder::expression(std::string_view pattern, bool is_anchored) {
  return {parse_expression(state_->grammar.regular, pattern, is_anchored, state_->limits)};
}

bool GrammarBuilder::is_nothing(Regex regex) { return !state_->grammar.regular.is_alive(regex.id); }
Regex GrammarBuilder::multiple_of(uint32_t divisor) { return {state_->grammar.regular.multiple_of(divisor)}; }
Regex GrammarBuilder::json_escaped(Regex inner) { return {state_->grammar.regular.json_escaped(inner.id)}; }

// ---- Symbols

Symbol GrammarBuilder::terminal(Regex regex) { return {state_->add({.kind = Kind::kTerminal, .first = regex.id}, {})}; }

Symbol GrammarBuilder::special(std::string_view name) {
  const uint32_t index = state_->name_index(name);
  const uint32_t token = state_->add({.kind = Kind::kSpecial, .first = index}, {});
  const uint32_t both[] = {token, terminal(literal(name)).id};
  return {state_->add({.kind = Kind::kIfSpecial, .first = index}, both)};
}

Symbol GrammarBuilder::sequence(std::span<const Symbol> parts) {
  if (parts.size() == 1) return parts[0];
  return {state_->add({.kind = Kind::kSequence}, ids(parts))};
}

Symbol GrammarBuilder::choice(std::span<const Symbol> parts) {
  std::vector<uint32_t> distinct = ids(parts);
  std::ranges::sort(distinct);
  distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
  if (distinct.size() == 1) return {distinct[0]};
  return {state_->add({.kind = Kind::kChoice}, distinct)};
}

Symbol GrammarBuilder::repeat(Symbol inner, int64_t min, int64_t max) {
  state_->check_count(min, max);
  if (min == 1 && max == 1) return inner;
  if (max == 0) return sequence({});
  return {state_->add({.kind = Kind::kRepeat, .first = inner.id, .min = min, .max = max}, {})};
}

Symbol GrammarBuilder::unordered(const Members& members) {
  Grammar& grammar = state_->grammar;
  std::vector<uint32_t> parts = ids(members.required);
  for (const std::vector<Symbol>* more : {&members.optional, &members.others}) {
    for (const Symbol member : *more) parts.push_back(member.id);
  }
  const auto num_required = static_cast<uint32_t>(members.required.size());
  const UnorderedList list{.separator = members.separator.id,
                           .first = static_cast<uint32_t>(grammar.parts.size()),
                           .num_members = static_cast<uint32_t>(parts.size()),
                           .num_required = num_required,
                           .num_once = num_required + static_cast<uint32_t>(members.optional.size()),
                           .min = members.min,
                           .max = members.max};
  const auto index = static_cast<uint32_t>(grammar.unordered.size());
  const uint32_t symbol = state_->append({.kind = Kind::kUnordered, .first = index}, parts);
  grammar.unordered.push_back(list);
  return {symbol};
}

// The texts of a branch are regular: its end comes last, and no end comes before.
Symbol GrammarBuilder::text_until(std::span<const Branch> branches, bool may_end) {
  RegularLanguages& regular = state_->grammar.regular;
  std::vector<uint32_t> ends;
  for (const Branch& branch : branches) {
    if (branch.end.empty()) fail(ErrorCode::kInvalidArgument, "a text that ends the free text must not be empty");
    ends.push_back(regular.literal(branch.end));
  }
  constexpr uint32_t kAll = RegularLanguages::kEverything;
  const uint32_t has_end = regular.concat(kAll, regular.concat(regular.any_of(ends), kAll));
  const uint32_t some_byte = regular.bytes(ByteSet::range(0, 255));
  const uint32_t has_earlier_end =
      regular.concat(kAll, regular.concat(regular.any_of(ends), regular.concat(some_byte, kAll)));
  const Symbol free = terminal({regular.all_of({regular.any_text(), regular.negate(has_end)})});
  std::vector<Symbol> choices;
  if (may_end) choices.push_back(free);
  for (size_t i = 0; i < branches.size(); ++i) {
    const uint32_t index = state_->name_index(branches[i].end);
    const Symbol until_token[] = {free, {state_->add({.kind = Kind::kSpecial, .first = index}, {})}};
    const uint32_t until_text =
        regular.all_of({regular.concat(regular.any_text(), ends[i]), regular.negate(has_earlier_end)});
    const uint32_t both[] = {sequence(until_token).id, terminal({until_text}).id};
    const Symbol branch[] = {{state_->add({.kind = Kind::kIfSpecial, .first = index}, both)}, branches[i].then};
    choices.push_back(sequence(branch));
  }
  return choice(choices);
}

Symbol GrammarBuilder::declare(std::string_view name) {
  const uint32_t id = state_->append({.kind = Kind::kRule, .first = kUndefined}, {});
  state_->rule_names.emplace(id, name);
  return {id};
}

void GrammarBuilder::define(Symbol rule, Symbol body) {
  SymbolNode& node = state_->grammar.symbols[rule.id];
  CHECK(node.kind == Kind::kRule);
  if (node.first != kUndefined) {
    fail(ErrorCode::kInvalidArgument, "the rule '{}' is defined twice", printable(state_->rule_names.at(rule.id)));
  }
  node.first = body.id;
}

void GrammarBuilder::check_time() const { state_->grammar.regular.check_time(); }

std::shared_ptr<const Grammar> GrammarBuilder::build(Symbol root) {
  CHECK(!state_->is_built);
  state_->is_built = true;
  state_->grammar.root = root.id;
  state_->check_definitions();
  state_->keep_productive();
  state_->mark_nullable();
  state_->grammar.regular.allow_any_time();
  return std::make_shared<const Grammar>(std::move(state_->grammar));
}

}  // namespace quire
