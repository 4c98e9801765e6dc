// The automaton: what may follow a byte, and whether a string remains.
#include <algorithm>
#include <limits>
#include <map>
#include <queue>
#include <unordered_set>
#include <utility>

#include "base/check.h"
#include "base/error.h"
#include "grammar/regular.h"

namespace quire {
namespace {

constexpr size_t kNearBytes = 64;
constexpr size_t kMaxSearched = 100'000;  // languages in search of a string

}  // namespace

std::span<const RegularLanguages::Transition> RegularLanguages::transitions(Id id) {
  if (!has_transitions_[id]) compute_transitions(id);
  return transitions_[id];
}

RegularLanguages::Id RegularLanguages::next(Id id, uint8_t byte) {
  for (const Transition& transition : transitions(id)) {
    if (transition.bytes.contains(byte)) return transition.target;
  }
  return kNothing;
}

// The transitions of `inner`, each followed by `tail`.
void RegularLanguages::append_mapped(Id inner, Id tail, std::vector<TransitionList>& lists) {
  const auto found = transitions(inner);
  TransitionList list(found.begin(), found.end());
  for (Transition& transition : list) transition.target = concat(transition.target, tail);
  lists.push_back(std::move(list));
}

// The union of the languages behind each byte.
RegularLanguages::TransitionList RegularLanguages::overlay(const std::vector<TransitionList>& lists) {
  if (lists.size() == 1) return lists[0];
  struct Class {
    ByteSet bytes;
    std::vector<Id> targets;
  };
  std::vector<Class> classes;
  for (const TransitionList& list : lists) {
    for (const Transition& transition : list) {
      ByteSet rest = transition.bytes;
      const size_t num_classes = classes.size();
      count_work(1 + num_classes);
      for (size_t i = 0; i < num_classes && !rest.is_empty(); ++i) {
        const ByteSet both = classes[i].bytes & rest;
        if (both.is_empty()) continue;
        rest = rest - both;
        if (both == classes[i].bytes) {
          classes[i].targets.push_back(transition.target);
        } else {
          classes[i].bytes = classes[i].bytes - both;
          count_work(classes[i].targets.size());
          std::vector<Id> targets = classes[i].targets;
          targets.push_back(transition.target);
          classes.push_back({both, std::move(targets)});
        }
      }
      if (!rest.is_empty()) classes.push_back({rest, {transition.target}});
    }
  }
  TransitionList result;
  for (Class& one : classes) result.push_back({one.bytes, any_of(std::move(one.targets))});
  return result;
}

RegularLanguages::TransitionList RegularLanguages::transitions_of_any(const std::vector<Id>& parts) {
  std::vector<TransitionList> lists;
  std::map<int, std::vector<Id>> literals;  // by their first byte: there may be very many
  for (const Id part : parts) {
    const Node& node = nodes_[part];
    const bool heads = node.kind == Kind::kConcat && nodes_[node.first].kind == Kind::kLiteral;
    if (heads || node.kind == Kind::kLiteral) {
      const Transition transition = transitions(part)[0];
      literals[transition.bytes.first()].push_back(transition.target);
    } else {
      const auto found = transitions(part);
      lists.emplace_back(found.begin(), found.end());
    }
  }
  TransitionList list;
  for (auto& [byte, targets] : literals) list.push_back({ByteSet::range(byte, byte), any_of(std::move(targets))});
  lists.push_back(std::move(list));
  return overlay(lists);
}

RegularLanguages::TransitionList RegularLanguages::transitions_of_all(const std::vector<Id>& parts) {
  std::vector<ByteSet> classes = {ByteSet::range(0, 255)};
  std::vector<Id> targets;  // of the parts so far, class by class
  for (size_t num_before = 0; num_before < parts.size(); ++num_before) {
    std::vector<ByteSet> narrowed;
    std::vector<Id> narrowed_targets;
    for (const Transition& transition : transitions(parts[num_before])) {
      count_work(1 + classes.size());
      if (transition.target == kNothing) continue;
      for (size_t i = 0; i < classes.size(); ++i) {
        const ByteSet both = classes[i] & transition.bytes;
        if (both.is_empty()) continue;
        count_work(num_before);
        narrowed.push_back(both);
        const auto before = targets.begin() + static_cast<std::ptrdiff_t>(i * num_before);
        narrowed_targets.insert(narrowed_targets.end(), before, before + static_cast<std::ptrdiff_t>(num_before));
        narrowed_targets.push_back(transition.target);
      }
    }
    classes = std::move(narrowed);
    targets = std::move(narrowed_targets);
  }
  TransitionList result;
  auto of_class = targets.begin();
  for (const ByteSet& bytes : classes) {
    const auto end = of_class + static_cast<std::ptrdiff_t>(parts.size());
    result.push_back({bytes, all_of({of_class, end})});
    of_class = end;
  }
  return result;
}

void RegularLanguages::compute_transitions(Id id) {
  const Node node = nodes_[id];  // a copy: nodes_ grows
  TransitionList list;
  switch (node.kind) {
    case Kind::kNothing:
    case Kind::kEmpty: break;
    case Kind::kBytes: list = {{sets_[node.first], kEmpty}}; break;
    case Kind::kLiteral: {
      const int byte = static_cast<unsigned char>(text_[node.first]);
      const Id rest = node.second == 1
                          ? kEmpty
                          : intern({.kind = Kind::kLiteral, .first = node.first + 1, .second = node.second - 1});
      list = {{ByteSet::range(byte, byte), rest}};
      break;
    }
    case Kind::kConcat: {
      std::vector<TransitionList> lists;
      Id rest = id;
      // A chain is walked, not descended: it may be long.
      while (nodes_[rest].kind == Kind::kConcat) {
        const Node link = nodes_[rest];
        append_mapped(link.first, link.second, lists);
        rest = link.second;
        if (!nodes_[link.first].is_nullable) break;
        if (nodes_[rest].kind != Kind::kConcat) append_mapped(rest, kEmpty, lists);
      }
      list = overlay(lists);
      break;
    }
    case Kind::kAnyOf: list = transitions_of_any({parts(node).begin(), parts(node).end()}); break;
    case Kind::kAllOf: list = transitions_of_all({parts(node).begin(), parts(node).end()}); break;
    case Kind::kNot: {
      ByteSet rest = ByteSet::range(0, 255);
      const auto found = transitions(node.first);
      list.assign(found.begin(), found.end());
      for (Transition& transition : list) {
        rest = rest - transition.bytes;
        transition.target = negate(transition.target);
      }
      if (!rest.is_empty()) list.push_back({rest, kEverything});
      break;
    }
    case Kind::kRepeat: {
      std::vector<TransitionList> lists;
      const int64_t max = node.max == kNoMaximum ? kNoMaximum : node.max - 1;
      append_mapped(node.first, repeat(node.first, std::max(0, node.min - 1), max), lists);
      list = std::move(lists[0]);
      break;
    }
    case Kind::kRemainder: {
      ByteSet marks;
      marks.add('-');
      marks.add('.');
      list.push_back({marks, id});
      for (int digit = 0; digit < 10; ++digit) {
        const uint64_t rest = (10 * uint64_t{node.second} + static_cast<uint64_t>(digit)) % node.first;
        list.push_back(
            {ByteSet::range('0' + digit, '0' + digit), remainder(node.first, static_cast<uint32_t>(rest), true)});
      }
      break;
    }
  }
  std::erase_if(list, [](const Transition& transition) { return transition.target == kNothing; });
  list.shrink_to_fit();
  transition_bytes_ += list.size() * sizeof(Transition);
  transitions_[id] = std::move(list);
  has_transitions_[id] = true;
}

// Looks by turns at the language that was found first and at the one whose strings may be the shortest: the first finds
// what is near, the second what is far.
bool RegularLanguages::is_alive(Id id) {
  if (nodes_[id].is_plain) return id != kNothing;
  if (life_[id] != Life::kUnknown) return life_[id] == Life::kAlive;
  // Most strings of far counts are there with near ones, which more languages have in common.
  const Id near = with_near_counts(id, kNearBytes, CountsAs::kSmaller);
  if (near != id && is_alive(near)) {
    life_[id] = Life::kAlive;
    return true;
  }
  struct Found {
    Id language;
    size_t from;  // where it was found
    bool is_open = true;
  };
  std::vector<Found> found;
  std::unordered_set<Id> seen;
  std::priority_queue<uint64_t, std::vector<uint64_t>, std::greater<>> nearest;  // the last found of equal ones first
  const auto add = [&](Id language, size_t from) {
    if (!seen.insert(language).second) return;
    nearest.push((uint64_t{nodes_[language].shortest} << 32) | (std::numeric_limits<uint32_t>::max() - found.size()));
    found.push_back({language, from});
  };
  add(id, 0);
  size_t first_open = 0;
  for (bool is_turn_of_first = true; first_open < found.size(); is_turn_of_first = !is_turn_of_first) {
    size_t at = first_open;
    if (is_turn_of_first) {
      ++first_open;
    } else {
      if (nearest.empty()) break;
      at = std::numeric_limits<uint32_t>::max() - (nearest.top() & std::numeric_limits<uint32_t>::max());
      nearest.pop();
    }
    if (!std::exchange(found[at].is_open, false)) continue;
    const Id one = found[at].language;
    const bool is_alive =
        nodes_[one].is_nullable || (nodes_[one].is_plain && one != kNothing) || life_[one] == Life::kAlive;
    if (is_alive) {
      for (size_t way = at; way != 0; way = found[way].from) life_[found[way].language] = Life::kAlive;
      life_[id] = Life::kAlive;
      return true;
    }
    if (life_[one] == Life::kDead || one == kNothing) continue;
    if (found.size() > kMaxSearched) {
      fail(ErrorCode::kLimit, "the intersection or complement of expressions has too many states; make it simpler");
    }
    for (const Transition& transition : transitions(one)) {
      count_work(8);
      add(transition.target, at);
    }
  }
  for (const Found& one : found) life_[one.language] = Life::kDead;
  return false;
}

}  // namespace quire
