// Reads bytes and special tokens by a grammar: Earley's algorithm over regular terminals, whose sets are hash-consed.
//
// An item of a set refers to the set in which it began, by id. So equal situations are the same set, wherever in the
// text they occur: within a string, after the next element of a list. A set's successors are kept, and reading a text
// again, or another one like it, is a walk over a table. Items at the end of their production are resolved to those
// that wait for them (Leo, 1991), so that right recursion adds nothing. What an unordered list has had is a part of its
// items: a state, made when a text first gets there.
//
// One thread at a time. What does not fit the limits throws Error kLimit.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "grammar/symbols.h"

namespace quire {

class Recognizer {
 public:
  using SetId = uint32_t;
  static constexpr SetId kDead = 0;  // nothing fits

  // has_special(name): whether the vocabulary has a special token of the name.
  template <typename HasSpecial>
  Recognizer(const Grammar& grammar, const GrammarLimits& limits, HasSpecial has_special)
      : Recognizer(grammar, limits, resolve(grammar, has_special)) {}

  SetId start() const { return start_; }
  SetId next(SetId set, uint8_t byte) {
    const SetId* row = sets_[set].row;
    if (row != nullptr && row[byte] != kUnknown) return row[byte];
    return compute_next(set, byte);
  }
  // `name`: of Grammar::names.
  SetId next_special(SetId set, uint32_t name);

  // The text may end here.
  bool is_accepting(SetId set) const { return sets_[set].is_accepting; }
  // Something may follow.
  bool continues(SetId set) const { return sets_[set].num_scans > 0; }
  // Bytes that may follow: exact.
  ByteSet live_bytes(SetId set);
  // Names of the special tokens that may follow.
  void specials(SetId set, std::vector<uint32_t>& names) const;
  // Any text of so many characters of a kind (a language of single characters) may follow, as far as that is easily
  // seen; at most `limit`.
  int allowed_characters(SetId set, RegularLanguages::Id character, int limit);
  // The set of what may follow if repetitions whose end is further than so many bytes end there, or never: many sets
  // have the same of both. What may follow in the smaller one may in `set`, and what may there, in the larger one.
  SetId with_near_counts(SetId set, size_t num_bytes, RegularLanguages::CountsAs as);
  // Steps that are not known yet throw Error kLimit beyond so much work (GrammarLimits::max_work) from here on.
  void allow_work(size_t units) { regular_.allow_work(units); }
  void count_work(size_t units) { regular_.count_work(units); }
  size_t work() const { return regular_.work(); }  // since then

  RegularLanguages& regular() { return regular_; }
  size_t memory_bytes() const;
  size_t num_sets() const { return sets_.size(); }

 private:
  static constexpr SetId kUnknown = 0xFFFFFFFF;
  static constexpr SetId kSelf = 0xFFFFFFFF;      // as an origin: the set itself
  static constexpr uint32_t kFinal = 0xFFFFFFFF;  // as a symbol: what waits for the root

  struct Scan {                     // a terminal on its way
    uint32_t symbol, rest, origin;  // rest: the language that is left; of a special token its name
    auto operator<=>(const Scan&) const = default;
  };
  struct Wait {  // when `symbol`, which begins in this set, is complete, `parent` advances
    uint32_t symbol, parent, progress, origin;
    auto operator<=>(const Wait&) const = default;
  };
  struct Set {
    size_t first_scan = 0, first_wait = 0;
    uint64_t hash = 0;
    uint32_t num_scans = 0, num_waits = 0;
    SetId* row = nullptr;  // [256], once a successor is known
    bool is_accepting = false;
  };
  struct Item {
    uint32_t symbol, progress, origin;
    bool operator==(const Item&) const = default;
  };
  // A set of items that is emptied in no time.
  class ItemSet {
   public:
    void clear();
    bool insert(const Item& item);  // false when it was there

   private:
    struct Slot {
      Item item = {};
      uint32_t round = 0;
    };
    std::vector<Slot> slots_ = std::vector<Slot>(64);
    size_t size_ = 0;
    uint32_t round_ = 1;
  };
  // How far an unordered list is. After a member the separator or the end follows, else a member.
  struct ListState {
    std::vector<uint64_t> had;  // of the members that come once, as bits
    int64_t count = 0;          // of all, as far as the list counts
    bool is_after_member = false;
    auto operator<=>(const ListState&) const = default;
  };
  // The progress of an item of a list is a state's number; that of a wait is the number, 1 and the member's index more,
  // so that no state is made before it is met.
  struct ListPlace {
    const ListState* state;
    uint32_t first_number, list;
    uint32_t num_had, num_required_had;
  };
  struct LexerRow {
    std::array<RegularLanguages::Id, 256> next = {};  // kNothing where no string remains
    ByteSet live = {};
  };

  struct Symbols {
    std::vector<SymbolNode> nodes;
    std::vector<uint32_t> parts;
    std::vector<UnorderedList> unordered;
    uint32_t root;
  };
  template <typename HasSpecial>
  static Symbols resolve(const Grammar& grammar, HasSpecial has_special) {
    std::vector<bool> has;
    for (const std::string& name : grammar.names) has.push_back(has_special(name));
    return resolve_names(grammar, has);
  }
  static Symbols resolve_names(const Grammar& grammar, const std::vector<bool>& has_special);
  Recognizer(const Grammar& grammar, const GrammarLimits& limits, Symbols symbols);

  std::span<const Scan> scans(SetId set) const { return {scans_.data() + sets_[set].first_scan, sets_[set].num_scans}; }
  std::span<const Wait> waits(SetId set, uint32_t symbol) const;
  bool is_special(const Scan& scan) const { return symbols_.nodes[scan.symbol].kind == SymbolNode::Kind::kSpecial; }
  const LexerRow& lexer_row(RegularLanguages::Id language);
  int64_t min_of(const SymbolNode& node) const;
  bool is_last(uint32_t symbol, uint32_t progress) const;

  uint32_t list_number(uint32_t list, ListState state);
  const ListPlace& list_place(uint32_t progress) const;
  bool may_take(const ListPlace& place, uint32_t member) const;
  bool is_last_member(const ListPlace& place, uint32_t member) const;
  void expect_in_list(const Item& item);
  void advance_list(uint32_t symbol, uint32_t progress, uint32_t origin);

  SetId compute_next(SetId set, uint8_t byte);
  void add_row(SetId set);
  // What may be left of a language after any one character of a kind; of languages within others only the smaller.
  struct CharacterStep {
    bool is_blocked = false;  // not every character may follow
    std::vector<RegularLanguages::Id> after = {};
  };
  const CharacterStep& character_step(RegularLanguages::Id language, RegularLanguages::Id character);
  CharacterStep find_character_step(RegularLanguages::Id language, RegularLanguages::Id character);
  std::optional<std::vector<RegularLanguages::Id>> after_character(const std::vector<RegularLanguages::Id>& layer,
                                                                   RegularLanguages::Id character);
  void keep_smallest(std::vector<RegularLanguages::Id>& languages);
  bool is_unit(RegularLanguages::Id character, RegularLanguages::Id unit);
  int count_allowed(RegularLanguages::Id language, RegularLanguages::Id character, int limit);
  int count_allowed_by_parts(RegularLanguages::Id language, RegularLanguages::Id character, int limit);
  void begin_set();
  void add_item(const Item& item);
  void scan(uint32_t symbol, RegularLanguages::Id rest, uint32_t origin);
  void predict(uint32_t symbol);
  void wait_for(const Item& item, uint32_t part);
  void advance(uint32_t symbol, uint32_t progress, uint32_t origin);
  void complete(uint32_t symbol, uint32_t origin);
  void resolve_waits(uint32_t part, uint32_t symbol, SetId origin);
  void close();
  SetId intern();

  GrammarLimits limits_;
  RegularLanguages regular_;
  Symbols symbols_;
  std::vector<uint32_t> lexer_index_;  // of a language: its row + 1
  std::vector<std::unique_ptr<LexerRow>> lexer_rows_;

  std::vector<Set> sets_;
  std::vector<Scan> scans_;
  std::vector<Wait> waits_;
  std::vector<std::unique_ptr<SetId[]>> row_chunks_;
  size_t num_rows_ = 0;
  std::vector<SetId> table_;                                     // open addressing; kDead: free
  std::unordered_map<uint64_t, int> allowed_characters_;         // of a language and a kind
  std::unordered_map<uint64_t, CharacterStep> character_steps_;  // of the same
  std::unordered_map<uint64_t, bool> units_;                     // of a kind and a language
  size_t character_step_bytes_ = 0;
  std::map<std::pair<uint32_t, ListState>, uint32_t> list_numbers_;  // of a list and a state
  std::vector<ListPlace> list_places_;                               // by number
  size_t list_bytes_ = 0;
  SetId start_ = kDead;

  // The set that is being made.
  std::vector<Scan> new_scans_;
  std::vector<Wait> new_waits_;
  std::vector<Item> open_items_, open_completions_;
  ItemSet seen_items_, seen_completions_;
  std::vector<uint32_t> predicted_;  // of a symbol: the round in which it was predicted last
  uint32_t round_ = 0;
  std::vector<uint32_t> resolved_;  // of a symbol: the resolution that came across it last
  uint32_t resolution_ = 0;
  bool new_accepting_ = false;
};

}  // namespace quire
