#include "grammar/regular.h"

#include <algorithm>
#include <limits>
#include <map>
#include <unordered_map>

#include "base/check.h"
#include "base/error.h"

namespace quire {
namespace {

constexpr size_t kMaxLiteralBytes = 64;  // of one node: a derivative costs no more than this
constexpr size_t kNodesPerCheck = 256;   // of memory and time
constexpr int32_t kUnbounded = -1;
constexpr int64_t kLargestCount = std::numeric_limits<int32_t>::max();

uint16_t deeper(uint16_t depth) { return static_cast<uint16_t>(std::min<int>(depth + 1, 0xFFFF)); }

}  // namespace

ByteSet ByteSet::range(int first, int last) {
  ByteSet set;
  for (int byte = first; byte <= last; ++byte) set.add(byte);
  return set;
}

int ByteSet::count() const {
  int sum = 0;
  for (const uint64_t word : words) sum += __builtin_popcountll(word);
  return sum;
}

int ByteSet::first() const {
  int word = 0;
  while (words[static_cast<size_t>(word)] == 0) ++word;
  return 64 * word + __builtin_ctzll(words[static_cast<size_t>(word)]);
}

ByteSet operator&(const ByteSet& a, const ByteSet& b) {
  ByteSet set;
  for (size_t i = 0; i < 4; ++i) set.words[i] = a.words[i] & b.words[i];
  return set;
}

ByteSet operator|(const ByteSet& a, const ByteSet& b) {
  ByteSet set;
  for (size_t i = 0; i < 4; ++i) set.words[i] = a.words[i] | b.words[i];
  return set;
}

ByteSet operator-(const ByteSet& a, const ByteSet& b) {
  ByteSet set;
  for (size_t i = 0; i < 4; ++i) set.words[i] = a.words[i] & ~b.words[i];
  return set;
}

RegularLanguages::RegularLanguages(Limits limits) : limits_(limits), table_(64) {
  CHECK(intern({.kind = Kind::kNothing}) == kNothing);
  CHECK(intern({.kind = Kind::kEmpty, .is_nullable = true}) == kEmpty);
  CHECK(intern({.kind = Kind::kNot, .is_nullable = true, .is_plain = true, .depth = 1}) == kEverything);
  any_character_ = character({{0, 0x10FFFF}});
  any_text_ = repeat(any_character_, 0, kNoMaximum);
}

// ---- Nodes: equal ones are one

uint64_t RegularLanguages::hash(const Node& node) const {
  uint64_t hash = static_cast<uint64_t>(node.kind);
  switch (node.kind) {
    case Kind::kNothing:
    case Kind::kEmpty: break;
    case Kind::kBytes:
      for (const uint64_t word : sets_[node.first].words) hash = mix_hash(hash, word);
      break;
    case Kind::kLiteral:
      for (const char c : text(node)) hash = mix_hash(hash, static_cast<unsigned char>(c));
      break;
    case Kind::kAnyOf:
    case Kind::kAllOf:
      for (const Id part : parts(node)) hash = mix_hash(hash, part);
      break;
    case Kind::kConcat:
    case Kind::kNot:
    case Kind::kRepeat:
    case Kind::kRemainder:
      hash = mix_hash(mix_hash(hash, node.first), node.second);
      hash = mix_hash(mix_hash(hash, static_cast<uint32_t>(node.min)), static_cast<uint32_t>(node.max));
      break;
  }
  return mix_hash(hash, 1);
}

bool RegularLanguages::equal(const Node& a, const Node& b) const {
  if (a.kind != b.kind) return false;
  switch (a.kind) {
    case Kind::kNothing:
    case Kind::kEmpty: return true;
    case Kind::kBytes: return sets_[a.first] == sets_[b.first];
    case Kind::kLiteral: return text(a) == text(b);
    case Kind::kAnyOf:
    case Kind::kAllOf: return std::ranges::equal(parts(a), parts(b));
    case Kind::kConcat:
    case Kind::kNot:
    case Kind::kRepeat:
    case Kind::kRemainder: return a.first == b.first && a.second == b.second && a.min == b.min && a.max == b.max;
  }
  return false;
}

void RegularLanguages::check_limits(const Node& node) const {
  if (nodes_.size() >= limits_.max_nodes) {
    fail(ErrorCode::kLimit, "the grammar needs more than {} regular expressions; make it simpler", limits_.max_nodes);
  }
  if (node.depth > limits_.max_depth) {
    fail(ErrorCode::kLimit, "regular expressions are nested more than {} deep; make the grammar simpler",
         limits_.max_depth);
  }
  if (nodes_.size() % kNodesPerCheck != 0) return;
  if (memory_bytes() > limits_.max_memory_bytes) {
    fail(ErrorCode::kLimit, "the grammar's regular expressions need more than {} MiB; make it simpler",
         limits_.max_memory_bytes >> 20);
  }
  check_time();
}

void RegularLanguages::check_time() const {
  if (Clock::now() > deadline_) fail(ErrorCode::kLimit, "the grammar takes too long to read; make it simpler");
}

void RegularLanguages::refuse_work() {
  fail(ErrorCode::kLimit, "the grammar is too ambiguous or too large: matching takes too long");
}

uint32_t RegularLanguages::shortest_of(const Node& node) const {
  constexpr uint64_t kMost = std::numeric_limits<uint32_t>::max();
  if (node.is_nullable) return 0;
  uint64_t shortest = 1;
  switch (node.kind) {
    case Kind::kNothing: return kMost;
    case Kind::kLiteral: return node.second;
    case Kind::kConcat: shortest = uint64_t{nodes_[node.first].shortest} + nodes_[node.second].shortest; break;
    case Kind::kRepeat: shortest = uint64_t{nodes_[node.first].shortest} * static_cast<uint32_t>(node.min); break;
    case Kind::kAnyOf:
      shortest = kMost;
      for (const Id part : parts(node)) shortest = std::min<uint64_t>(shortest, nodes_[part].shortest);
      break;
    case Kind::kAllOf:
      for (const Id part : parts(node)) shortest = std::max<uint64_t>(shortest, nodes_[part].shortest);
      break;
    default: break;
  }
  return static_cast<uint32_t>(std::min(shortest, kMost));
}

RegularLanguages::Id RegularLanguages::intern(Node node) {
  count_work(2);
  if (2 * (nodes_.size() + 1) > table_.size()) rehash();
  size_t slot = hash(node) & (table_.size() - 1);
  for (; table_[slot] != 0; slot = (slot + 1) & (table_.size() - 1)) {
    if (equal(nodes_[table_[slot] - 1], node)) return table_[slot] - 1;
  }
  check_limits(node);
  count_work(8);
  node.shortest = shortest_of(node);
  nodes_.push_back(node);
  transitions_.emplace_back();
  has_transitions_.push_back(false);
  life_.push_back(Life::kUnknown);
  table_[slot] = static_cast<uint32_t>(nodes_.size());
  return static_cast<Id>(nodes_.size() - 1);
}

void RegularLanguages::rehash() {
  table_.assign(2 * table_.size(), 0);
  for (size_t id = 0; id < nodes_.size(); ++id) {
    size_t slot = hash(nodes_[id]) & (table_.size() - 1);
    while (table_[slot] != 0) slot = (slot + 1) & (table_.size() - 1);
    table_[slot] = static_cast<uint32_t>(id + 1);
  }
}

size_t RegularLanguages::memory_bytes() const {
  return nodes_.capacity() * (sizeof(Node) + sizeof(TransitionList) + sizeof(Life)) + parts_.capacity() * sizeof(Id) +
         sets_.capacity() * sizeof(ByteSet) + near_counts_.size() * 32 + text_.capacity() +
         table_.capacity() * sizeof(uint32_t) + transition_bytes_;
}

// ---- Operators

RegularLanguages::Id RegularLanguages::bytes(const ByteSet& set) {
  if (set.is_empty()) return kNothing;
  if (set.count() == 1) {
    const char byte = static_cast<char>(set.first());
    return literal({&byte, 1});
  }
  sets_.push_back(set);
  const size_t before = nodes_.size();
  const Id id = intern({.kind = Kind::kBytes, .first = static_cast<uint32_t>(sets_.size() - 1)});
  if (nodes_.size() == before) sets_.pop_back();
  return id;
}

RegularLanguages::Id RegularLanguages::literal(std::string_view text) {
  Id id = kEmpty;
  // From the end, so that all nodes but the first are full: equal ends are equal nodes.
  for (size_t end = text.size(); end > 0;) {
    const size_t begin = end > kMaxLiteralBytes ? end - kMaxLiteralBytes : 0;
    const size_t offset = text_.size();
    if (offset + (end - begin) > std::numeric_limits<uint32_t>::max()) {
      fail(ErrorCode::kLimit, "the grammar's literals are too long");
    }
    text_.append(text.substr(begin, end - begin));
    const size_t before = nodes_.size();
    const Id part = intern(
        {.kind = Kind::kLiteral, .first = static_cast<uint32_t>(offset), .second = static_cast<uint32_t>(end - begin)});
    if (nodes_.size() == before) text_.resize(offset);
    id = concat(part, id);
    end = begin;
  }
  return id;
}

RegularLanguages::Id RegularLanguages::concat(Id first, Id second) {
  if (first == kNothing || second == kNothing) return kNothing;
  if (first == kEmpty) return second;
  if (second == kEmpty) return first;
  const Node a = nodes_[first], b = nodes_[second];
  if (a.kind == Kind::kLiteral) {
    const bool heads = b.kind == Kind::kConcat && nodes_[b.first].kind == Kind::kLiteral;
    const Node next = heads ? nodes_[b.first] : b;
    if (next.kind == Kind::kLiteral && a.second + next.second <= kMaxLiteralBytes) {
      const Id joined = literal(std::string(text(a)).append(text(next)));
      return heads ? concat(joined, b.second) : joined;
    }
  }
  return intern({.kind = Kind::kConcat,
                 .is_nullable = a.is_nullable && b.is_nullable,
                 .is_plain = a.is_plain && b.is_plain,
                 .depth = std::max(deeper(a.depth), b.depth),
                 .first = first,
                 .second = second});
}

RegularLanguages::Id RegularLanguages::intern_parts(Kind kind, const std::vector<Id>& parts) {
  count_work(parts.size());
  Node node = {.kind = kind,
               .is_nullable = kind == Kind::kAllOf,
               .is_plain = kind == Kind::kAnyOf,
               .first = static_cast<uint32_t>(parts_.size()),
               .second = static_cast<uint32_t>(parts.size())};
  for (const Id part : parts) {
    const Node& inner = nodes_[part];
    node.is_nullable =
        kind == Kind::kAnyOf ? node.is_nullable || inner.is_nullable : node.is_nullable && inner.is_nullable;
    node.is_plain = node.is_plain && inner.is_plain;
    node.depth = std::max(node.depth, deeper(inner.depth));
  }
  parts_.insert(parts_.end(), parts.begin(), parts.end());
  const size_t before = nodes_.size();
  const Id id = intern(node);
  if (nodes_.size() == before) parts_.resize(node.first);
  return id;
}

// a{i,j}b | a{k,l}b is a{min,max}b where the ranges meet: what keeps counted repetitions of ambiguous parts small.
void RegularLanguages::merge_repeats(std::vector<Id>& parts) {
  struct Counted {
    Id inner, rest;
    int64_t min, max;
    auto operator<=>(const Counted&) const = default;
  };
  std::vector<Counted> counted;
  std::vector<Id> others;
  for (const Id part : parts) {
    const Node& node = nodes_[part];
    const bool heads = node.kind == Kind::kConcat;
    const Node& repeat = heads ? nodes_[node.first] : node;
    if (repeat.kind == Kind::kRepeat) {
      counted.push_back({repeat.first, heads ? node.second : kEmpty, repeat.min,
                         repeat.max == kUnbounded ? kLargestCount + 1 : repeat.max});
    } else {
      others.push_back(part);
    }
  }
  if (counted.size() < 2) return;
  std::ranges::sort(counted);
  size_t written = 0;
  for (size_t i = 1; i < counted.size(); ++i) {
    Counted& last = counted[written];
    if (counted[i].inner == last.inner && counted[i].rest == last.rest && counted[i].min <= last.max + 1) {
      last.max = std::max(last.max, counted[i].max);
    } else {
      counted[++written] = counted[i];
    }
  }
  if (written + 1 == counted.size()) return;
  counted.resize(written + 1);
  for (const Counted& one : counted) {
    const int64_t max = one.max > kLargestCount ? kNoMaximum : one.max;
    others.push_back(concat(repeat(one.inner, one.min, max), one.rest));
  }
  std::ranges::sort(others);
  others.erase(std::unique(others.begin(), others.end()), others.end());
  parts = std::move(others);
}

RegularLanguages::Id RegularLanguages::any_of(std::vector<Id> given) {
  std::vector<Id> flat;
  ByteSet set;  // single bytes
  bool has_set = false;
  const auto add = [&](Id id) {
    count_work(1);
    const Node& node = nodes_[id];
    if (id == kNothing) return;
    if (node.kind == Kind::kBytes) {
      set = set | sets_[node.first];
      has_set = true;
    } else if (node.kind == Kind::kLiteral && node.second == 1) {
      set.add(static_cast<unsigned char>(text_[node.first]));
      has_set = true;
    } else {
      flat.push_back(id);
    }
  };
  for (const Id id : given) {
    if (id == kEverything) return id;
    if (nodes_[id].kind == Kind::kAnyOf) {
      for (const Id part : parts(nodes_[id])) add(part);
    } else {
      add(id);
    }
  }
  if (has_set) flat.push_back(bytes(set));
  std::ranges::sort(flat);
  flat.erase(std::unique(flat.begin(), flat.end()), flat.end());
  merge_repeats(flat);
  const bool others_have_empty =
      std::ranges::any_of(flat, [&](Id id) { return id != kEmpty && nodes_[id].is_nullable; });
  if (others_have_empty) std::erase(flat, kEmpty);
  if (flat.empty()) return kNothing;
  if (flat.size() == 1) return flat[0];
  return intern_parts(Kind::kAnyOf, flat);
}

// Whether a part is in the complement of another, as far as that is written: what a search would find out slowly.
bool RegularLanguages::contradicts(const std::vector<Id>& sorted) {
  for (const Id id : sorted) {
    const Node& node = nodes_[id];
    if (node.kind != Kind::kNot) continue;
    const auto is_there = [&](Id one) { return std::ranges::binary_search(sorted, one); };
    const Node& inner = nodes_[node.first];
    if (is_there(node.first)) return true;
    if (inner.kind != Kind::kAnyOf) continue;
    count_work(1 + inner.second / 4);
    if (std::ranges::any_of(parts(inner), is_there)) return true;
  }
  return false;
}

// x and (y or something that contradicts x) is x and y. Nothing when there is no such part.
std::optional<RegularLanguages::Id> RegularLanguages::without_contradictions(const std::vector<Id>& sorted) {
  constexpr size_t kMaxParts = 16;  // that are looked at
  for (const Id id : sorted) {
    const Node node = nodes_[id];
    if (node.kind != Kind::kAnyOf || node.is_plain || node.second > kMaxParts) continue;
    std::vector<Id> rest = sorted;
    std::erase(rest, id);
    std::vector<Id> kept;
    for (const Id part : parts(node)) {
      std::vector<Id> together = rest;
      const Node& one = nodes_[part];
      if (one.kind == Kind::kAllOf) {
        together.insert(together.end(), parts(one).begin(), parts(one).end());
      } else {
        together.push_back(part);
      }
      std::ranges::sort(together);
      count_work(together.size());
      if (!contradicts(together)) kept.push_back(part);
    }
    if (kept.size() == node.second) continue;
    rest.push_back(any_of(std::move(kept)));
    return all_of(std::move(rest));
  }
  return std::nullopt;
}

RegularLanguages::Id RegularLanguages::all_of(std::vector<Id> given) {
  std::vector<Id> flat;
  ByteSet set = ByteSet::range(0, 255);
  bool has_set = false;
  const auto add = [&](Id id) {
    count_work(1);
    const Node& node = nodes_[id];
    if (id == kEverything) return;
    if (node.kind == Kind::kBytes) {
      set = set & sets_[node.first];
      has_set = true;
    } else {
      flat.push_back(id);
    }
  };
  for (const Id id : given) {
    if (id == kNothing) return id;
    if (nodes_[id].kind == Kind::kAllOf) {
      for (const Id part : parts(nodes_[id])) add(part);
    } else {
      add(id);
    }
  }
  if (has_set) flat.push_back(bytes(set));
  std::ranges::sort(flat);
  flat.erase(std::unique(flat.begin(), flat.end()), flat.end());
  if (flat.empty()) return kEverything;
  if (flat.size() == 1) return flat[0];
  if (flat[0] == kNothing) return kNothing;
  if (contradicts(flat)) return kNothing;
  if (const std::optional<Id> shorter = without_contradictions(flat)) return *shorter;
  if (flat[0] == kEmpty) {
    return std::ranges::all_of(flat, [&](Id id) { return nodes_[id].is_nullable; }) ? kEmpty : kNothing;
  }
  return intern_parts(Kind::kAllOf, flat);
}

RegularLanguages::Id RegularLanguages::negate(Id inner) {
  const Node& node = nodes_[inner];
  if (node.kind == Kind::kNot) return node.first;
  return intern({.kind = Kind::kNot,
                 .is_nullable = !node.is_nullable,
                 .is_plain = false,
                 .depth = deeper(node.depth),
                 .first = inner});
}

RegularLanguages::Id RegularLanguages::repeat(Id inner, int64_t min, int64_t max) {
  CHECK(min >= 0 && (max == kNoMaximum || max >= min));
  if (max == 0 || inner == kEmpty) return kEmpty;
  if (inner == kNothing) return min == 0 ? kEmpty : kNothing;
  if (inner == kEverything) return kEverything;
  if (std::max(min, max) > kLargestCount) fail(ErrorCode::kLimit, "a repetition counts beyond {}", kLargestCount);
  const Node node = nodes_[inner];
  if (node.is_nullable) min = 0;
  if (min == 1 && max == 1) return inner;
  if (min == 0 && max == 1 && node.is_nullable) return inner;
  if (node.kind == Kind::kRepeat && node.min <= 1) {
    if (node.max == kUnbounded) return repeat(node.first, std::min<int64_t>(min, node.min), kNoMaximum);
    if (max == kNoMaximum) return repeat(node.first, node.min == 0 ? 0 : min, kNoMaximum);
  }
  return intern({.kind = Kind::kRepeat,
                 .is_nullable = min == 0,
                 .is_plain = node.is_plain,
                 .depth = deeper(node.depth),
                 .first = inner,
                 .min = static_cast<int32_t>(min),
                 .max = static_cast<int32_t>(max)});
}

RegularLanguages::Id RegularLanguages::remainder(uint32_t divisor, uint32_t remainder, bool has_digit) {
  CHECK(divisor > 0);
  return intern({.kind = Kind::kRemainder,
                 .is_nullable = has_digit && remainder == 0,
                 .first = divisor,
                 .second = remainder,
                 .min = has_digit ? 1 : 0});
}

// ---- Counts

std::vector<RegularLanguages::CountedLanguage> RegularLanguages::counted(Id id) {
  std::vector<CountedLanguage> found;
  const bool heads = nodes_[id].kind == Kind::kConcat;
  const Node all = heads ? nodes_[nodes_[id].first] : nodes_[id];
  if (all.kind != Kind::kAllOf) return found;
  const std::vector<Id> given(parts(all).begin(), parts(all).end());
  for (const Id part : given) {
    const Node repeat = nodes_[part];
    if (repeat.kind != Kind::kRepeat || repeat.max == kUnbounded) continue;
    std::vector<Id> others = given;
    std::erase(others, part);
    found.push_back({.unit = repeat.first,
                     .min = repeat.min,
                     .max = repeat.max,
                     .others = all_of(std::move(others)),
                     .tail = heads ? nodes_[id].second : kEmpty});
  }
  return found;
}

RegularLanguages::Id RegularLanguages::with_near_counts(Id id, size_t num_bytes, CountsAs as) {
  constexpr size_t kMaxLinks = 8, kMaxParts = 16;  // that are looked at
  constexpr int64_t kFewUnits = 32;                // of two bytes and more
  const uint64_t key = (uint64_t{id} << 32) | (num_bytes << 1) | (as == CountsAs::kLarger ? 1 : 0);
  if (const auto known = near_counts_.find(key); known != near_counts_.end()) return known->second;
  const Node node = nodes_[id];
  Id near = id;
  if (node.kind == Kind::kRepeat && node.max != kUnbounded) {
    const int64_t most = nodes_[node.first].shortest > 1 ? kFewUnits : static_cast<int64_t>(num_bytes);
    if (node.max > most && node.min <= most) {
      near = repeat(node.first, node.min, as == CountsAs::kLarger ? kNoMaximum : most);
    }
  } else if (node.kind == Kind::kConcat) {
    std::vector<Id> links;
    Id rest = id;
    for (; nodes_[rest].kind == Kind::kConcat && links.size() < kMaxLinks; rest = nodes_[rest].second) {
      links.push_back(nodes_[rest].first);
    }
    near = links.size() < kMaxLinks ? with_near_counts(rest, num_bytes, as) : rest;
    for (size_t i = links.size(); i-- > 0;) near = concat(with_near_counts(links[i], num_bytes, as), near);
  } else if ((node.kind == Kind::kAllOf || node.kind == Kind::kAnyOf) && node.second <= kMaxParts) {
    std::vector<Id> all(parts(node).begin(), parts(node).end());
    for (Id& part : all) part = with_near_counts(part, num_bytes, as);
    near = node.kind == Kind::kAllOf ? all_of(std::move(all)) : any_of(std::move(all));
  }
  near_counts_.emplace(key, near);
  return near;
}

bool RegularLanguages::is_within(Id inner, Id outer) {
  count_work(1);
  if (inner == outer) return true;
  const Node& a = nodes_[inner];
  const Node& b = nodes_[outer];
  if (a.kind != b.kind) return false;
  switch (a.kind) {
    case Kind::kConcat: return is_within(a.first, b.first) && is_within(a.second, b.second);
    case Kind::kRepeat: {
      const bool is_bounded = b.max == kUnbounded || (a.max != kUnbounded && a.max <= b.max);
      return is_bounded && a.min >= b.min && a.first == b.first;
    }
    default: return false;
  }
}

// ---- Characters

// The last `num_bytes` bytes of a character, whose 6 bits each make the numbers of `ranges`.
RegularLanguages::Id RegularLanguages::utf8_tail(int num_bytes, const CharacterRanges& ranges) {
  if (num_bytes == 0) return kEmpty;
  const int shift = 6 * (num_bytes - 1);
  if (ranges[0].first == 0 && ranges[0].second == (char32_t{64} << shift) - 1) {  // most are so
    const Id byte = bytes(ByteSet::range(0x80, 0xBF));
    return num_bytes == 1 ? byte : concat(byte, utf8_tail(num_bytes - 1, {{0, (char32_t{1} << shift) - 1}}));
  }
  std::map<Id, ByteSet> lead_bytes;  // by what follows them
  for (char32_t digit = 0; digit < 64; ++digit) {
    const char32_t first = digit << shift, last = first + ((char32_t{1} << shift) - 1);
    CharacterRanges inner;
    for (const auto& [low, high] : ranges) {
      if (high >= first && low <= last) inner.emplace_back(std::max(low, first) - first, std::min(high, last) - first);
    }
    if (!inner.empty()) lead_bytes[utf8_tail(num_bytes - 1, inner)].add(static_cast<int>(0x80 + digit));
  }
  std::vector<Id> parts;
  for (const auto& [tail, set] : lead_bytes) parts.push_back(concat(bytes(set), tail));
  return any_of(std::move(parts));
}

RegularLanguages::Id RegularLanguages::character(const CharacterRanges& ranges) {
  struct Form {  // of UTF-8: the characters that `1 + num_tail` bytes write
    char32_t first, last;
    int num_tail, lead;
  };
  // Surrogates are not characters.
  constexpr Form kForms[] = {{0, 0x7F, 0, 0x00},
                             {0x80, 0x7FF, 1, 0xC0},
                             {0x800, 0xD7FF, 2, 0xE0},
                             {0xE000, 0xFFFF, 2, 0xE0},
                             {0x10000, 0x10FFFF, 3, 0xF0}};
  std::map<Id, ByteSet> lead_bytes;
  for (const Form& form : kForms) {
    const int shift = 6 * form.num_tail;
    for (char32_t lead = form.first >> shift; lead <= form.last >> shift; ++lead) {
      const char32_t first = std::max<char32_t>(lead << shift, form.first);
      const char32_t last = std::min<char32_t>((lead << shift) + ((char32_t{1} << shift) - 1), form.last);
      CharacterRanges inner;
      for (const auto& [low, high] : ranges) {
        if (high >= first && low <= last) {
          inner.emplace_back(std::max(low, first) - (lead << shift), std::min(high, last) - (lead << shift));
        }
      }
      if (inner.empty()) continue;
      lead_bytes[utf8_tail(form.num_tail, inner)].add(static_cast<int>(form.lead + static_cast<int>(lead)));
    }
  }
  std::vector<Id> parts;
  for (const auto& [tail, set] : lead_bytes) parts.push_back(concat(bytes(set), tail));
  return any_of(std::move(parts));
}

RegularLanguages::Id RegularLanguages::escaped_bytes(const ByteSet& set) {
  std::vector<Id> parts;
  ByteSet plain;
  for_each_byte(set, [&](int byte) {
    if (byte >= 0x20 && byte != '"' && byte != '\\') return plain.add(byte);
    const char digits[] = "0123456789abcdef";
    const char upper[] = "0123456789ABCDEF";
    if (byte < 0x20) {
      std::string code = std::string("\\u00") + digits[byte / 16];
      parts.push_back(literal(code + digits[byte % 16]));
      parts.push_back(literal(code + upper[byte % 16]));
    }
    const std::string_view named = "\"\\\b\f\n\r\t", names = "\"\\bfnrt";
    const size_t at = named.find(static_cast<char>(byte));
    if (at != std::string_view::npos) parts.push_back(literal(std::string("\\") + names[at]));
  });
  parts.push_back(bytes(plain));
  return any_of(std::move(parts));
}

// An escape stands for one byte, and every text has one meaning: so the operators hold for escaped strings as well.
RegularLanguages::Id RegularLanguages::escape_parts(Id id, const std::vector<Id>& inner) {
  const Node node = nodes_[id];
  switch (node.kind) {
    case Kind::kNothing:
    case Kind::kEmpty: return id;
    case Kind::kBytes: return escaped_bytes(sets_[node.first]);
    case Kind::kLiteral: {
      Id joined = kEmpty;
      const std::string literal(text(node));
      for (size_t i = literal.size(); i-- > 0;) {
        const int byte = static_cast<unsigned char>(literal[i]);
        joined = concat(escaped_bytes(ByteSet::range(byte, byte)), joined);
      }
      return joined;
    }
    case Kind::kConcat: return concat(inner[0], inner[1]);
    case Kind::kAnyOf: return any_of(inner);
    case Kind::kAllOf: return all_of(inner);
    case Kind::kNot: return all_of({repeat(escaped_bytes(ByteSet::range(0, 255)), 0, kNoMaximum), negate(inner[0])});
    case Kind::kRepeat: return repeat(inner[0], node.min, node.max);
    case Kind::kRemainder: return id;
  }
  return kNothing;
}

RegularLanguages::Id RegularLanguages::json_escaped(Id root) {
  std::unordered_map<Id, Id> done;
  std::vector<Id> open = {root}, inner;
  while (!open.empty()) {
    const Id id = open.back();
    const Node& node = nodes_[id];
    const bool is_leaf = node.kind == Kind::kNothing || node.kind == Kind::kEmpty || node.kind == Kind::kBytes ||
                         node.kind == Kind::kLiteral || node.kind == Kind::kRemainder;
    inner.clear();
    if (node.kind == Kind::kAnyOf || node.kind == Kind::kAllOf) {
      inner.assign(parts(node).begin(), parts(node).end());
    } else if (!is_leaf) {
      inner.push_back(node.first);
      if (node.kind == Kind::kConcat) inner.push_back(node.second);
    }
    const size_t before = open.size();
    for (const Id part : inner) {
      if (!done.contains(part)) open.push_back(part);
    }
    if (open.size() > before) continue;
    for (Id& part : inner) part = done.at(part);
    if (!done.contains(id)) done.emplace(id, escape_parts(id, inner));
    open.pop_back();
  }
  return done.at(root);
}
}  // namespace quire
