// Whether a text fits, by Earley's algorithm byte by byte, as plainly as possible: sets of items, nothing kept between
// texts, nothing shared. Special tokens are their names' text.
#include <map>
#include <set>
#include <tuple>

#include "grammar/symbols.h"

namespace quire {
namespace {

using Kind = SymbolNode::Kind;
constexpr double kMaxSeconds = 600;

struct Item {
  uint32_t symbol;
  // A terminal's language that is left, parts of a sequence, repetitions, the state of a list; of others 0 or 1.
  int64_t progress;
  size_t origin;  // bytes before it
  auto operator<=>(const Item&) const = default;
};

// Of an unordered list: which members it has had that come once, how many in all, what follows.
struct ListState {
  std::set<size_t> had = {};
  int64_t count = 0;
  bool is_after_member = false;
  auto operator<=>(const ListState&) const = default;
};

class Earley {
 public:
  explicit Earley(const Grammar& grammar) : grammar_(grammar), regular_(grammar.regular) {
    regular_.set_limits({.max_nodes = 10'000'000, .max_depth = 60'000});
    regular_.allow_seconds(kMaxSeconds);
    begin_set();
    predict(grammar.root);
    close();
  }

  // False when no text that fits begins like this.
  bool push(uint8_t byte) {
    const std::set<Item> items = sets_.back();
    begin_set();
    for (const Item& item : items) {
      if (grammar_.symbols[item.symbol].kind != Kind::kTerminal) continue;
      const uint32_t rest = regular_.next(static_cast<uint32_t>(item.progress), byte);
      if (regular_.is_alive(rest)) add({item.symbol, rest, item.origin});
    }
    close();
    return !sets_.back().empty();
  }

  bool is_accepted() const { return is_accepted_; }

 private:
  void begin_set() {
    sets_.emplace_back();
    waiting_.emplace_back();
    is_accepted_ = false;
  }

  void add(const Item& item) {
    if (sets_.back().insert(item).second) open_.push_back(item);
  }

  void predict(uint32_t symbol) {
    const SymbolNode& node = grammar_.symbols[symbol];
    int64_t progress = 0;
    if (node.kind == Kind::kTerminal) progress = node.first;
    if (node.kind == Kind::kUnordered) progress = number_of({});
    add({symbol, progress, sets_.size() - 1});
  }

  void wait(const Item& item, uint32_t part) {
    waiting_.back()[part].insert(item);
    predict(part);
    // It was complete here already, as the empty text, or may yet become so: then complete() finds this item.
    // Repetitions of the empty text change nothing.
    if (empty_here_.contains(part) && grammar_.symbols[item.symbol].kind != Kind::kRepeat) advance(item);
  }

  int64_t number_of(const ListState& state) {
    const auto [entry, is_new] = list_numbers_.try_emplace(state, static_cast<int64_t>(list_states_.size()));
    if (is_new) list_states_.push_back(state);
    return entry->second;
  }

  // The members that may follow: room is left for the required ones that are still to come.
  static std::vector<size_t> members_after(const UnorderedList& list, const ListState& state) {
    std::vector<size_t> members;
    for (size_t i = 0; i < list.num_members; ++i) {
      ListState after = state;
      after.had.insert(i);
      const bool has_room = list.max == kNoMaximum || state.count + 1 + num_missing(list, after) <= list.max;
      if (has_room && (list.may_repeat(i) || !state.had.contains(i))) members.push_back(i);
    }
    return members;
  }

  static int64_t num_missing(const UnorderedList& list, const ListState& state) {
    return list.num_required - std::distance(state.had.begin(), state.had.lower_bound(size_t{list.num_required}));
  }

  // An item that waits for a part of a list has the state after that part.
  void read_list(const Item& item, const UnorderedList& list) {
    const ListState state = list_states_[static_cast<size_t>(item.progress)];
    const std::vector<size_t> members = members_after(list, state);
    ListState next = state;
    next.is_after_member = !state.is_after_member;
    if (state.is_after_member) {
      if (num_missing(list, state) == 0 && state.count >= list.min) complete(item);
      if (!members.empty()) wait({item.symbol, number_of(next), item.origin}, list.separator);
      return;
    }
    ++next.count;
    for (const size_t i : members) {
      ListState after = next;
      if (!list.may_repeat(i)) after.had.insert(i);
      wait({item.symbol, number_of(after), item.origin}, grammar_.members_of(list)[i]);
    }
  }

  void advance(Item item) {
    const SymbolNode& node = grammar_.symbols[item.symbol];
    if (node.kind == Kind::kUnordered) return add(item);
    const bool is_saturated = node.kind == Kind::kRepeat && node.max == kNoMaximum && item.progress >= node.min;
    if (!is_saturated) ++item.progress;
    add(item);
  }

  void complete(const Item& item) {
    if (item.symbol == grammar_.root && item.origin == 0) is_accepted_ = true;
    if (item.origin == sets_.size() - 1) empty_here_.insert(item.symbol);
    const auto found = waiting_[item.origin].find(item.symbol);
    if (found == waiting_[item.origin].end()) return;
    const std::set<Item> waiting = found->second;  // a copy: it may grow
    const bool is_empty = item.origin == sets_.size() - 1;
    for (const Item& one : waiting) {
      if (!is_empty || grammar_.symbols[one.symbol].kind != Kind::kRepeat) advance(one);
    }
  }

  void close() {
    empty_here_.clear();
    while (!open_.empty()) {
      const Item item = open_.back();
      open_.pop_back();
      const SymbolNode& node = grammar_.symbols[item.symbol];
      switch (node.kind) {
        case Kind::kTerminal:
          if (regular_.is_nullable(static_cast<uint32_t>(item.progress))) complete(item);
          break;
        case Kind::kSpecial: break;
        case Kind::kSequence:
          if (item.progress == node.second) {
            complete(item);
          } else {
            wait(item, grammar_.parts_of(node)[static_cast<size_t>(item.progress)]);
          }
          break;
        case Kind::kChoice:
          if (item.progress == 1) {
            complete(item);
          } else {
            for (const uint32_t part : grammar_.parts_of(node)) wait(item, part);
          }
          break;
        case Kind::kRepeat:
          if (item.progress >= node.min || grammar_.symbols[node.first].is_nullable) complete(item);
          if (node.max == kNoMaximum || item.progress < node.max) wait(item, node.first);
          break;
        case Kind::kUnordered: read_list(item, grammar_.unordered[node.first]); break;
        case Kind::kRule:
        case Kind::kIfSpecial:
          if (item.progress == 1) {
            complete(item);
          } else {
            wait(item, node.kind == Kind::kRule ? node.first : grammar_.parts[node.second + 1]);
          }
          break;
      }
    }
  }

  const Grammar& grammar_;
  RegularLanguages regular_;
  std::vector<std::set<Item>> sets_;
  std::vector<std::map<uint32_t, std::set<Item>>> waiting_;  // of each set: by the symbol that they wait for
  std::map<ListState, int64_t> list_numbers_;
  std::vector<ListState> list_states_;
  std::vector<Item> open_;
  std::set<uint32_t> empty_here_;
  bool is_accepted_ = false;
};

}  // namespace

bool fits(const Grammar& grammar, std::string_view text) {
  Earley earley(grammar);
  for (const char c : text) {
    if (!earley.push(static_cast<uint8_t>(c))) return false;
  }
  return earley.is_accepted();
}

bool may_begin(const Grammar& grammar, std::string_view text) {
  Earley earley(grammar);
  for (const char c : text) {
    if (!earley.push(static_cast<uint8_t>(c))) return false;
  }
  return true;
}

}  // namespace quire
