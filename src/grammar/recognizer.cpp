#include "grammar/recognizer.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <utility>

#include "base/check.h"
#include "base/error.h"

namespace quire {
namespace {

using Kind = SymbolNode::Kind;
constexpr size_t kRowsPerChunk = 16;
constexpr size_t kMaxItems = 100'000;  // of one set: more than that is too ambiguous
constexpr size_t kMaxFewScans = 4;
constexpr size_t kMaxAskedScans = 1'000;
constexpr size_t kMaxCharacterStates = 1'000;
constexpr size_t kMaxCompared = 32;  // languages with each other

}  // namespace

// ---- Items of the set that is being made

void Recognizer::ItemSet::clear() {
  size_ = 0;
  ++round_;
}

bool Recognizer::ItemSet::insert(const Item& item) {
  if (2 * size_ >= slots_.size()) {
    std::vector<Slot> old(2 * slots_.size());
    old.swap(slots_);
    size_ = 0;
    for (const Slot& slot : old) {
      if (slot.round == round_) insert(slot.item);
    }
  }
  const uint64_t hash = mix_hash(mix_hash(item.symbol, item.progress), item.origin);
  size_t at = hash & (slots_.size() - 1);
  for (; slots_[at].round == round_; at = (at + 1) & (slots_.size() - 1)) {
    if (slots_[at].item == item) return false;
  }
  slots_[at] = {item, round_};
  ++size_;
  return true;
}

// ---- Symbols

// Rules and names are replaced by what they stand for.
Recognizer::Symbols Recognizer::resolve_names(const Grammar& grammar, const std::vector<bool>& has_special) {
  Symbols symbols = {grammar.symbols, grammar.parts, grammar.unordered, grammar.root};
  const auto num_symbols = static_cast<uint32_t>(symbols.nodes.size());
  constexpr uint32_t kNotYet = 0xFFFFFFFF;
  // Of each symbol. Without a definition, or while it is looked for: 0, as nothing that the root reaches ends there.
  std::vector<uint32_t> targets(num_symbols, kNotYet);
  std::vector<uint32_t> way;
  const auto target = [&](uint32_t id) {
    way.clear();
    while (id < num_symbols && targets[id] == kNotYet) {
      const SymbolNode& node = grammar.symbols[id];
      targets[id] = 0;
      way.push_back(id);
      if (node.kind == Kind::kRule) {
        id = node.first;
      } else if (node.kind == Kind::kIfSpecial) {
        id = grammar.parts[node.second + (has_special[node.first] ? 0 : 1)];
      } else {
        targets[id] = id;
      }
    }
    const uint32_t found = id < num_symbols ? targets[id] : 0;
    for (const uint32_t one : way) targets[one] = found;
    return found;
  };
  for (uint32_t& part : symbols.parts) part = target(part);
  for (UnorderedList& list : symbols.unordered) list.separator = target(list.separator);
  for (SymbolNode& node : symbols.nodes) {
    if (node.kind == Kind::kRepeat) node.first = target(node.first);
  }
  symbols.root = target(symbols.root);
  return symbols;
}

Recognizer::Recognizer(const Grammar& grammar, const GrammarLimits& limits, Symbols symbols)
    : limits_(limits), regular_(grammar.regular), symbols_(std::move(symbols)), table_(64, kDead) {
  // Matching makes more languages; their memory is counted with the rest.
  regular_.set_limits({.max_nodes = std::max<size_t>(grammar.regular.size(), limits.max_memory_bytes / 64),
                       .max_depth = 16 * limits.max_depth,
                       .max_memory_bytes = limits.max_memory_bytes});
  allow_work(limits.max_work / 4);
  predicted_.assign(symbols_.nodes.size(), 0);
  resolved_.assign(symbols_.nodes.size(), 0);
  sets_.emplace_back();  // kDead
  begin_set();
  new_waits_.push_back({symbols_.root, kFinal, 0, kSelf});
  predict(symbols_.root);
  new_accepting_ = symbols_.nodes[symbols_.root].is_nullable;
  close();
  start_ = intern();
}

int64_t Recognizer::min_of(const SymbolNode& node) const {
  return symbols_.nodes[node.first].is_nullable ? 0 : node.min;
}

// Whether the part that comes now is the last one in any case.
bool Recognizer::is_last(uint32_t symbol, uint32_t progress) const {
  if (symbol == kFinal) return false;
  const SymbolNode& node = symbols_.nodes[symbol];
  switch (node.kind) {
    case Kind::kSequence: return progress + 1 == node.second;
    case Kind::kChoice: return true;
    case Kind::kRepeat: return progress + 1 == node.max && progress + 1 >= min_of(node);
    case Kind::kUnordered: {
      const ListPlace& place = list_place(progress);
      return !place.state->is_after_member && is_last_member(place, progress - place.first_number - 1);
    }
    default: return false;
  }
}

// ---- Sets

void Recognizer::begin_set() {
  new_scans_.clear();
  new_waits_.clear();
  new_accepting_ = false;
  seen_items_.clear();
  seen_completions_.clear();
  ++round_;
}

void Recognizer::scan(uint32_t symbol, RegularLanguages::Id rest, uint32_t origin) {
  if (!lexer_row(rest).live.is_empty()) new_scans_.push_back({symbol, rest, origin});
}

void Recognizer::add_item(const Item& item) {
  if (seen_items_.insert(item)) open_items_.push_back(item);
}

void Recognizer::predict(uint32_t symbol) {
  if (predicted_[symbol] == round_) return;
  predicted_[symbol] = round_;
  const SymbolNode& node = symbols_.nodes[symbol];
  switch (node.kind) {
    case Kind::kTerminal: scan(symbol, node.first, kSelf); break;
    case Kind::kSpecial: new_scans_.push_back({symbol, node.first, kSelf}); break;
    case Kind::kSequence:
      if (node.second > 0) add_item({symbol, 0, kSelf});
      break;
    case Kind::kChoice: add_item({symbol, 0, kSelf}); break;
    case Kind::kRepeat:
      if (node.max != 0) add_item({symbol, 0, kSelf});
      break;
    case Kind::kUnordered:
      add_item(
          {symbol,
           list_number(node.first, {.had = std::vector<uint64_t>(1 + symbols_.unordered[node.first].num_once / 64)}),
           kSelf});
      break;
    case Kind::kRule:
    case Kind::kIfSpecial: CHECK(false);  // resolve_names
  }
}

void Recognizer::wait_for(const Item& item, uint32_t part) {
  count_work(2);
  if (item.origin != kSelf && is_last(item.symbol, item.progress)) {
    resolve_waits(part, item.symbol, item.origin);
  } else {
    new_waits_.push_back({part, item.symbol, item.progress, item.origin});
  }
  predict(part);
  // Repetitions of the empty text change nothing.
  if (symbols_.nodes[part].is_nullable && symbols_.nodes[item.symbol].kind != Kind::kRepeat) {
    advance(item.symbol, item.progress, item.origin);
  }
  if (new_scans_.size() + new_waits_.size() > kMaxItems) {
    fail(ErrorCode::kLimit, "the grammar is too ambiguous: more than {} readings of one text", kMaxItems);
  }
}

// With `part`, `symbol` is complete: what waits for it waits for `part`.
void Recognizer::resolve_waits(uint32_t part, uint32_t symbol, SetId origin) {
  std::vector<uint32_t> complete = {symbol};
  resolved_[symbol] = ++resolution_;
  for (size_t i = 0; i < complete.size(); ++i) {
    const auto waiting = waits(origin, complete[i]);
    count_work(2 + waiting.size());
    for (const Wait& wait : waiting) {
      if (wait.origin == kSelf && is_last(wait.parent, wait.progress)) {
        if (std::exchange(resolved_[wait.parent], resolution_) != resolution_) complete.push_back(wait.parent);
      } else {
        new_waits_.push_back({part, wait.parent, wait.progress, wait.origin == kSelf ? origin : wait.origin});
      }
    }
  }
}

void Recognizer::advance(uint32_t symbol, uint32_t progress, uint32_t origin) {
  if (symbol == kFinal) {
    new_accepting_ = true;
    return;
  }
  const SymbolNode& node = symbols_.nodes[symbol];
  if (node.kind == Kind::kUnordered) return advance_list(symbol, progress, origin);
  ++progress;
  switch (node.kind) {
    case Kind::kSequence:
      if (progress == node.second) {
        complete(symbol, origin);
      } else {
        add_item({symbol, progress, origin});
      }
      break;
    case Kind::kRepeat: {
      const int64_t min = min_of(node);
      if (progress >= min) complete(symbol, origin);
      if (node.max == kNoMaximum) {
        add_item({symbol, static_cast<uint32_t>(std::min<int64_t>(progress, min)), origin});
      } else if (progress < node.max) {
        add_item({symbol, progress, origin});
      }
      break;
    }
    default: complete(symbol, origin);
  }
}

void Recognizer::complete(uint32_t symbol, uint32_t origin) {
  if (origin == kSelf) return;  // the empty text: wait_for() has seen to it
  if (seen_completions_.insert({symbol, 0, origin})) open_completions_.push_back({symbol, 0, origin});
}

void Recognizer::close() {
  while (!open_items_.empty() || !open_completions_.empty()) {
    if (!open_completions_.empty()) {
      const Item done = open_completions_.back();
      open_completions_.pop_back();
      const auto waiting = waits(done.origin, done.symbol);
      count_work(2 + 2 * waiting.size());
      for (const Wait& wait : waiting) {
        advance(wait.parent, wait.progress, wait.origin == kSelf ? done.origin : wait.origin);
      }
      continue;
    }
    const Item item = open_items_.back();
    open_items_.pop_back();
    const SymbolNode& node = symbols_.nodes[item.symbol];
    if (node.kind == Kind::kSequence) {
      wait_for(item, symbols_.parts[node.first + item.progress]);
    } else if (node.kind == Kind::kRepeat) {
      wait_for(item, node.first);
    } else if (node.kind == Kind::kUnordered) {
      expect_in_list(item);
    } else {
      for (uint32_t i = 0; i < node.second; ++i) wait_for(item, symbols_.parts[node.first + i]);
    }
  }
}

// ---- Unordered lists

uint32_t Recognizer::list_number(uint32_t list, ListState state) {
  const UnorderedList& members = symbols_.unordered[list];
  const uint64_t number = list_places_.empty() ? 0
                                               : uint64_t{list_places_.back().first_number} +
                                                     symbols_.unordered[list_places_.back().list].num_members + 1;
  if (number + members.num_members + 1 > std::numeric_limits<uint32_t>::max()) {
    fail(ErrorCode::kLimit, "the grammar has too many orders of the members of a list");
  }
  const auto [entry, is_new] = list_numbers_.try_emplace({list, std::move(state)}, static_cast<uint32_t>(number));
  if (!is_new) return entry->second;
  const ListState& kept = entry->first.second;
  count_work(16 + kept.had.size());
  list_bytes_ += sizeof(ListPlace) + sizeof(*entry) + 48 + 8 * kept.had.size();
  ListPlace place{.state = &kept, .first_number = entry->second, .list = list, .num_had = 0, .num_required_had = 0};
  for (uint32_t i = 0; i < members.num_once; ++i) {
    if (((kept.had[i / 64] >> (i % 64)) & 1) == 0) continue;
    ++place.num_had;
    if (members.is_required(i)) ++place.num_required_had;
  }
  list_places_.push_back(place);
  return entry->second;
}

const Recognizer::ListPlace& Recognizer::list_place(uint32_t progress) const {
  return *(std::ranges::upper_bound(list_places_, progress, {}, &ListPlace::first_number) - 1);
}

// Room is left for the required ones that are still to come.
bool Recognizer::may_take(const ListPlace& place, uint32_t member) const {
  const UnorderedList& list = symbols_.unordered[place.list];
  if (!list.may_repeat(member) && ((place.state->had[member / 64] >> (member % 64)) & 1) != 0) return false;
  if (list.is_required(member) || list.max == kNoMaximum) return true;
  return place.state->count + 1 + (list.num_required - place.num_required_had) <= list.max;
}

// Whether nothing may follow after this one.
bool Recognizer::is_last_member(const ListPlace& place, uint32_t member) const {
  const UnorderedList& list = symbols_.unordered[place.list];
  if (list.max != kNoMaximum && place.state->count + 1 >= list.max) return true;
  const bool has_others = list.num_once < list.num_members;
  return !has_others && place.num_had + (list.may_repeat(member) ? 0 : 1) == list.num_once;
}

void Recognizer::expect_in_list(const Item& item) {
  const ListPlace place = list_place(item.progress);
  const UnorderedList& list = symbols_.unordered[place.list];
  if (place.state->is_after_member) {
    return wait_for({item.symbol, place.first_number + 1, item.origin}, list.separator);
  }
  for (uint32_t i = 0; i < list.num_members; ++i) {
    if (!may_take(place, i)) continue;
    wait_for({item.symbol, place.first_number + 1 + i, item.origin}, symbols_.parts[list.first + i]);
  }
}

void Recognizer::advance_list(uint32_t symbol, uint32_t progress, uint32_t origin) {
  const ListPlace place = list_place(progress);
  count_work(4 + place.state->had.size());
  const UnorderedList& list = symbols_.unordered[place.list];
  ListState next = *place.state;
  next.is_after_member = !place.state->is_after_member;
  if (!next.is_after_member) return add_item({symbol, list_number(place.list, std::move(next)), origin});
  const uint32_t member = progress - place.first_number - 1;
  if (!list.may_repeat(member)) next.had[member / 64] |= uint64_t{1} << (member % 64);
  next.count = std::min(next.count + 1, std::max(list.min, list.max));
  const uint32_t num_required_had = place.num_required_had + (list.is_required(member) ? 1 : 0);
  if (num_required_had == list.num_required && next.count >= list.min) complete(symbol, origin);
  if (!is_last_member(place, member)) add_item({symbol, list_number(place.list, std::move(next)), origin});
}

std::span<const Recognizer::Wait> Recognizer::waits(SetId set, uint32_t symbol) const {
  const std::span<const Wait> all = {waits_.data() + sets_[set].first_wait, sets_[set].num_waits};
  const auto begin = std::ranges::lower_bound(all, symbol, {}, &Wait::symbol);
  const auto end = std::ranges::upper_bound(begin, all.end(), symbol, {}, &Wait::symbol);
  return {begin, end};
}

Recognizer::SetId Recognizer::intern() {
  count_work(16 + new_scans_.size() + new_waits_.size());
  const auto tidy = [](auto& list) {
    std::ranges::sort(list);
    list.erase(std::unique(list.begin(), list.end()), list.end());
  };
  tidy(new_scans_);
  tidy(new_waits_);
  if (new_scans_.empty()) new_waits_.clear();
  if (new_scans_.empty() && !new_accepting_) return kDead;
  uint64_t hash = new_accepting_ ? 1 : 0;
  for (const Scan& one : new_scans_) hash = mix_hash(mix_hash(mix_hash(hash, one.symbol), one.rest), one.origin);
  for (const Wait& one : new_waits_)
    hash = mix_hash(mix_hash(mix_hash(mix_hash(hash, one.symbol), one.parent), one.progress), one.origin);
  if (2 * (sets_.size() + 1) > table_.size()) {
    std::vector<SetId> old(2 * table_.size(), kDead);
    old.swap(table_);
    for (const SetId set : old) {
      if (set == kDead) continue;
      size_t at = sets_[set].hash & (table_.size() - 1);
      while (table_[at] != kDead) at = (at + 1) & (table_.size() - 1);
      table_[at] = set;
    }
  }
  size_t at = hash & (table_.size() - 1);
  for (; table_[at] != kDead; at = (at + 1) & (table_.size() - 1)) {
    const SetId known = table_[at];
    const std::span<const Wait> known_waits = {waits_.data() + sets_[known].first_wait, sets_[known].num_waits};
    if (sets_[known].hash == hash && sets_[known].is_accepting == new_accepting_ &&
        std::ranges::equal(scans(known), new_scans_) && std::ranges::equal(known_waits, new_waits_)) {
      return known;
    }
  }
  if (memory_bytes() > limits_.max_memory_bytes) {
    fail(ErrorCode::kLimit, "matching the grammar needs more than {} MiB", limits_.max_memory_bytes >> 20);
  }
  const auto set = static_cast<SetId>(sets_.size());
  sets_.push_back({.first_scan = scans_.size(),
                   .first_wait = waits_.size(),
                   .hash = hash,
                   .num_scans = static_cast<uint32_t>(new_scans_.size()),
                   .num_waits = static_cast<uint32_t>(new_waits_.size()),
                   .is_accepting = new_accepting_});
  scans_.insert(scans_.end(), new_scans_.begin(), new_scans_.end());
  waits_.insert(waits_.end(), new_waits_.begin(), new_waits_.end());
  table_[at] = set;
  return set;
}

size_t Recognizer::memory_bytes() const {
  return regular_.memory_bytes() + lexer_index_.capacity() * 4 + lexer_rows_.size() * sizeof(LexerRow) +
         sets_.capacity() * sizeof(Set) + scans_.capacity() * sizeof(Scan) + waits_.capacity() * sizeof(Wait) +
         num_rows_ * 256 * sizeof(SetId) + table_.capacity() * sizeof(SetId) +
         symbols_.nodes.size() * (sizeof(SymbolNode) + 8) + symbols_.parts.size() * 4 +
         allowed_characters_.size() * 32 + character_step_bytes_ + units_.size() * 32 + list_bytes_;
}

// ---- Steps

const Recognizer::LexerRow& Recognizer::lexer_row(RegularLanguages::Id language) {
  if (language >= lexer_index_.size()) lexer_index_.resize(std::max<size_t>(language + 1, regular_.size()), 0);
  if (lexer_index_[language] == 0) {
    count_work(16);
    auto row = std::make_unique<LexerRow>();
    for (const RegularLanguages::Transition& transition : regular_.transitions(language)) {
      if (!regular_.is_alive(transition.target)) continue;
      row->live = row->live | transition.bytes;
      for_each_byte(transition.bytes, [&](int byte) { row->next[static_cast<size_t>(byte)] = transition.target; });
    }
    lexer_rows_.push_back(std::move(row));
    lexer_index_[language] = static_cast<uint32_t>(lexer_rows_.size());
  }
  return *lexer_rows_[lexer_index_[language] - 1];
}

void Recognizer::add_row(SetId set) {
  if (num_rows_ % kRowsPerChunk == 0) row_chunks_.push_back(std::make_unique<SetId[]>(kRowsPerChunk * 256));
  SetId* row = row_chunks_.back().get() + 256 * (num_rows_ % kRowsPerChunk);
  ++num_rows_;
  const ByteSet live = live_bytes(set);
  for (int byte = 0; byte < 256; ++byte) row[byte] = live.contains(byte) ? kUnknown : kDead;
  sets_[set].row = row;
}

Recognizer::SetId Recognizer::compute_next(SetId set, uint8_t byte) {
  if (sets_[set].row == nullptr) {
    add_row(set);
    if (sets_[set].row[byte] != kUnknown) return sets_[set].row[byte];
  }
  count_work(16 + sets_[set].num_scans);
  begin_set();
  open_items_.clear();
  open_completions_.clear();
  for (size_t i = 0; i < sets_[set].num_scans; ++i) {
    const Scan one = scans(set)[i];
    if (is_special(one)) continue;
    const RegularLanguages::Id rest = lexer_row(one.rest).next[byte];
    if (rest == RegularLanguages::kNothing) continue;
    const SetId origin = one.origin == kSelf ? set : one.origin;
    scan(one.symbol, rest, origin);
    if (regular_.is_nullable(rest)) complete(one.symbol, origin);
  }
  close();
  const SetId found = intern();
  SetId* row = sets_[set].row;
  row[byte] = found;
  // Bytes that lead every terminal to the same language lead to the same set.
  const LexerRow* lexers[kMaxFewScans] = {};
  size_t num_lexers = 0;
  for (const Scan& one : scans(set)) {
    if (is_special(one)) continue;
    if (num_lexers == kMaxFewScans) return found;
    lexers[num_lexers++] = &lexer_row(one.rest);
  }
  for (size_t other = 0; other < 256; ++other) {
    bool is_same = true;
    for (size_t i = 0; i < num_lexers; ++i) is_same = is_same && lexers[i]->next[other] == lexers[i]->next[byte];
    if (is_same) row[other] = found;
  }
  return found;
}

Recognizer::SetId Recognizer::next_special(SetId set, uint32_t name) {
  count_work(16 + sets_[set].num_scans);
  begin_set();
  open_items_.clear();
  open_completions_.clear();
  for (const Scan& one : scans(set)) {
    if (is_special(one) && one.rest == name) complete(one.symbol, one.origin == kSelf ? set : one.origin);
  }
  close();
  return intern();
}

Recognizer::SetId Recognizer::with_near_counts(SetId set, size_t num_bytes, RegularLanguages::CountsAs as) {
  if (sets_[set].num_scans > kMaxFewScans) return set;
  begin_set();
  bool is_same = true;
  for (size_t i = 0; i < sets_[set].num_scans; ++i) {
    Scan one = scans(set)[i];
    if (!is_special(one)) {
      const RegularLanguages::Id near = regular_.with_near_counts(one.rest, num_bytes, as);
      is_same = is_same && near == one.rest;
      one.rest = near;
    }
    new_scans_.push_back(one);
  }
  if (is_same) return set;
  const auto first = waits_.begin() + static_cast<std::ptrdiff_t>(sets_[set].first_wait);
  new_waits_.assign(first, first + sets_[set].num_waits);
  new_accepting_ = sets_[set].is_accepting;
  return intern();
}

ByteSet Recognizer::live_bytes(SetId set) {
  ByteSet live;
  count_work(1 + sets_[set].num_scans / 4);
  for (const Scan& one : scans(set)) {
    if (!is_special(one)) live = live | lexer_row(one.rest).live;
  }
  return live;
}

void Recognizer::specials(SetId set, std::vector<uint32_t>& names) const {
  for (const Scan& one : scans(set)) {
    if (is_special(one)) names.push_back(one.rest);
  }
}

// ---- Whole kinds of characters

int Recognizer::allowed_characters(SetId set, RegularLanguages::Id character, int limit) {
  const auto all = scans(set);
  int most = 0;
  for (const Scan& one : all.first(std::min(all.size(), kMaxAskedScans))) {
    if (is_special(one)) continue;
    const uint64_t key = (uint64_t{one.rest} << 32) | character;
    const auto known = allowed_characters_.find(key);
    const int count = known != allowed_characters_.end() ? known->second : count_allowed(one.rest, character, limit);
    if (known == allowed_characters_.end()) allowed_characters_.emplace(key, count);
    most = std::max(most, count);
  }
  return most;
}

// Languages that are within others tell all about those: what is allowed in the smaller is in the larger.
void Recognizer::keep_smallest(std::vector<RegularLanguages::Id>& languages) {
  std::ranges::sort(languages);
  languages.erase(std::unique(languages.begin(), languages.end()), languages.end());
  if (languages.size() > kMaxCompared) return;
  std::vector<RegularLanguages::Id> kept;
  for (const RegularLanguages::Id one : languages) {
    const auto is_smaller = [&](RegularLanguages::Id other) { return other != one && regular_.is_within(other, one); };
    if (std::ranges::none_of(languages, is_smaller)) kept.push_back(one);
  }
  languages = std::move(kept);
}

const Recognizer::CharacterStep& Recognizer::character_step(RegularLanguages::Id language,
                                                            RegularLanguages::Id character) {
  const uint64_t key = (uint64_t{language} << 32) | character;
  const auto known = character_steps_.find(key);
  if (known != character_steps_.end()) return known->second;
  CharacterStep step = find_character_step(language, character);
  character_step_bytes_ += 64 + sizeof(step) + 4 * step.after.size();
  return character_steps_.emplace(key, std::move(step)).first->second;
}

Recognizer::CharacterStep Recognizer::find_character_step(RegularLanguages::Id language,
                                                          RegularLanguages::Id character) {
  using Id = RegularLanguages::Id;
  CharacterStep found;
  std::vector<std::pair<Id, Id>> pairs = {{character, language}};  // what is left of the character, of the language
  for (size_t at = 0; at < pairs.size(); ++at) {
    count_work(8);
    const auto [rest, state] = pairs[at];
    if (pairs.size() > kMaxCharacterStates) return {.is_blocked = true};
    const auto steps = regular_.transitions(rest);
    for (const RegularLanguages::Transition& step : std::vector(steps.begin(), steps.end())) {
      const LexerRow& row = lexer_row(state);
      if (!(step.bytes - row.live).is_empty()) return {.is_blocked = true};
      Id last = RegularLanguages::kNothing;
      for_each_byte(step.bytes, [&](int byte) {
        const Id next = row.next[static_cast<size_t>(byte)];
        if (next == last) return;
        last = next;
        count_work(1 + (pairs.size() + found.after.size()) / 16);
        if (step.target == RegularLanguages::kEmpty) {
          if (std::ranges::find(found.after, next) == found.after.end()) found.after.push_back(next);
        } else if (std::ranges::find(pairs, std::pair(step.target, next)) == pairs.end()) {
          pairs.emplace_back(step.target, next);
        }
      });
    }
  }
  keep_smallest(found.after);
  return found;
}

// Character by character: the languages after any of them, none of which may be without a string.
int Recognizer::count_allowed(RegularLanguages::Id language, RegularLanguages::Id character, int limit) {
  const int by_parts = count_allowed_by_parts(language, character, limit);
  if (by_parts > 0) return by_parts;
  std::vector<RegularLanguages::Id> layer = {language};
  for (int count = 0; count < limit; ++count) {
    const auto after = after_character(layer, character);
    if (!after) return count;
    if (*after == layer) return limit;
    layer = *after;
  }
  return limit;
}

std::optional<std::vector<RegularLanguages::Id>> Recognizer::after_character(
    const std::vector<RegularLanguages::Id>& layer, RegularLanguages::Id character) {
  std::vector<RegularLanguages::Id> after;
  for (const RegularLanguages::Id one : layer) {
    const CharacterStep& step = character_step(one, character);
    count_work(1 + step.after.size());
    if (step.is_blocked || after.size() > kMaxCharacterStates) return std::nullopt;
    after.insert(after.end(), step.after.begin(), step.after.end());
  }
  keep_smallest(after);
  return after;
}

// Every character of the kind is a unit.
bool Recognizer::is_unit(RegularLanguages::Id character, RegularLanguages::Id unit) {
  const auto [known, is_new] = units_.try_emplace((uint64_t{unit} << 32) | character, false);
  if (is_new) known->second = !regular_.is_alive(regular_.all_of({character, regular_.negate(unit)}));
  return known->second;
}

// Where characters are counted, each text has languages of its own, but what else there is to a language has few: it is
// followed alone, and whether a string is left of both is asked at the end. 0: not easily seen.
int Recognizer::count_allowed_by_parts(RegularLanguages::Id language, RegularLanguages::Id character, int limit) {
  for (const RegularLanguages::CountedLanguage& parts : regular_.counted(language)) {
    if (!is_unit(character, parts.unit)) continue;
    std::vector<RegularLanguages::Id> layer = {parts.others};
    int found = 0;
    for (int count = 1; count <= std::min<int64_t>(limit, parts.max); ++count) {
      const auto after = after_character(layer, character);
      if (!after) break;
      layer = *after;
      if (count != limit && !std::has_single_bit(static_cast<uint32_t>(count))) continue;
      const auto counted = regular_.repeat(parts.unit, std::max<int64_t>(parts.min - count, 0), parts.max - count);
      const auto is_left = [&](RegularLanguages::Id rest) {
        return regular_.is_alive(regular_.concat(regular_.all_of({counted, rest}), parts.tail));
      };
      if (!std::ranges::all_of(layer, is_left)) break;
      found = count;
    }
    if (found > 0) return found;
  }
  return 0;
}

}  // namespace quire
