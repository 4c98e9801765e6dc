#include "drafting/suffix_automaton.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace quire {

SuffixAutomaton::SuffixAutomaton(int max_context) : max_context_(std::max(1, max_context)) {
  add_state(0);
  places_.assign(16, kNone);
}

void SuffixAutomaton::begin_text() {
  last_ = 0;
  end_ = {};
}

int32_t SuffixAutomaton::add_state(int32_t length) {
  CHECK(states_.size() < INT32_MAX);
  states_.push_back({.length = length});
  return static_cast<int32_t>(states_.size()) - 1;
}

size_t SuffixAutomaton::place_of(int32_t from, int32_t token) const {
  const uint64_t key = static_cast<uint64_t>(static_cast<uint32_t>(from)) << 32 | static_cast<uint32_t>(token);
  uint64_t hash = key * 0x9e3779b97f4a7c15u;
  hash = (hash ^ hash >> 32) * 0xd6e8feb86659fd93u;
  const size_t mask = places_.size() - 1;
  auto place = static_cast<size_t>(hash >> 32) & mask;
  for (;; place = (place + 1) & mask) {
    const int32_t index = places_[place];
    if (index == kNone) return place;
    const Edge& edge = edges_[static_cast<size_t>(index)];
    if (edge.from == from && edge.token == token) return place;
  }
}

void SuffixAutomaton::grow_places() {
  places_.assign(places_.size() * 2, kNone);
  for (size_t i = 0; i < edges_.size(); ++i) {
    places_[place_of(edges_[i].from, edges_[i].token)] = static_cast<int32_t>(i);
  }
}

void SuffixAutomaton::add_edge(int32_t from, int32_t token, int32_t target) {
  if ((edges_.size() + 1) * 3 > places_.size() * 2) grow_places();
  const auto index = static_cast<int32_t>(edges_.size());
  const size_t place = place_of(from, token);
  // Second in the list: the first one is the most frequent.
  int32_t& first = state(from).first_edge;
  int32_t* link = first == kNone ? &first : &edges_[static_cast<size_t>(first)].next;
  const Edge edge = {.from = from, .token = token, .target = target, .next = *link};
  *link = index;
  edges_.push_back(edge);
  places_[place] = index;
}

void SuffixAutomaton::promote(int32_t from, int32_t token) {
  Edge& first = edges_[static_cast<size_t>(state(from).first_edge)];
  Edge& edge = edges_[static_cast<size_t>(find_edge(from, token))];
  if (state(edge.target).count <= state(first.target).count) return;
  std::swap(places_[place_of(from, first.token)], places_[place_of(from, token)]);
  std::swap(first.token, edge.token);
  std::swap(first.target, edge.target);
}

int32_t SuffixAutomaton::split(int32_t from, int32_t token, int32_t target) {
  // The strings up to from's with the token end at a place where the longer ones do not: they get a state of their own.
  const int32_t half = add_state(state(from).length + 1);
  state(half).link = state(target).link;
  state(half).count = state(target).count;
  state(target).link = half;
  // In the order of the list, its tail backwards: add_edge puts each behind the first.
  std::vector<std::pair<int32_t, int32_t>> copies;
  for (int32_t i = state(target).first_edge; i != kNone; i = edges_[static_cast<size_t>(i)].next) {
    copies.emplace_back(edges_[static_cast<size_t>(i)].token, edges_[static_cast<size_t>(i)].target);
  }
  if (copies.size() > 1) std::reverse(copies.begin() + 1, copies.end());
  for (const auto& [next_token, next_target] : copies) add_edge(half, next_token, next_target);
  for (int32_t i = from; i != kNone; i = state(i).link) {
    const int32_t edge = find_edge(i, token);
    if (edge == kNone || edges_[static_cast<size_t>(edge)].target != target) break;
    edges_[static_cast<size_t>(edge)].target = half;
  }
  return half;
}

void SuffixAutomaton::extend(int32_t token) {
  const auto part_of = [&](int32_t from, int32_t edge) {
    const int32_t target = edges_[static_cast<size_t>(edge)].target;
    return state(target).length == state(from).length + 1 ? target : split(from, token, target);
  };
  if (const int32_t edge = find_edge(last_, token); edge != kNone) {  // an earlier text goes on like this
    last_ = part_of(last_, edge);
    return;
  }
  const int32_t whole = add_state(state(last_).length + 1);
  int32_t from = last_;
  int32_t edge = kNone;
  for (; from != kNone; from = state(from).link) {
    edge = find_edge(from, token);
    if (edge != kNone) break;
    add_edge(from, token, whole);
  }
  const int32_t link = from == kNone ? 0 : part_of(from, edge);
  state(whole).link = link;
  last_ = whole;
}

SuffixAutomaton::Context SuffixAutomaton::settle(Context context) const {
  while (context.state != 0 && state(state(context.state).link).length >= context.length) {
    context.state = state(context.state).link;
  }
  return context;
}

SuffixAutomaton::Context SuffixAutomaton::follow(Context context, int32_t token) const {
  const int32_t edge = find_edge(context.state, token);
  CHECK(edge != kNone);
  return {.state = edges_[static_cast<size_t>(edge)].target, .length = context.length + 1};
}

void SuffixAutomaton::append(int32_t token) {
  extend(token);
  const Context before = settle(end_);
  const Context after = follow(before, token);
  for (int32_t i = after.state; i != kNone; i = state(i).link) ++state(i).count;
  for (int32_t i = before.state; i != kNone; i = state(i).link) promote(i, token);
  end_ = settle({.state = after.state, .length = std::min(after.length, max_context_)});
}

SuffixAutomaton::Context SuffixAutomaton::match(std::span<const int32_t> tokens) const {
  Context context;
  const size_t num_tokens = std::min(tokens.size(), static_cast<size_t>(max_context_));
  for (const int32_t token : tokens.last(num_tokens)) {
    while (context.state != 0 && find_edge(context.state, token) == kNone) context = shorten(context);
    if (find_edge(context.state, token) != kNone) context = advance(context, token);
  }
  return context;
}

SuffixAutomaton::Context SuffixAutomaton::shorten(Context context) const {
  CHECK(context.state != 0);
  const int32_t link = state(context.state).link;
  return {.state = link, .length = state(link).length};
}

SuffixAutomaton::Context SuffixAutomaton::advance(Context context, int32_t token) const {
  const Context next = follow(context, token);
  return settle({.state = next.state, .length = std::min(next.length, max_context_)});
}

void SuffixAutomaton::find_next(Context context, size_t max_next, std::vector<Next>& next) const {
  next.clear();
  for (int32_t i = state(context.state).first_edge; i != kNone && next.size() < max_next;) {
    const Edge& edge = edges_[static_cast<size_t>(i)];
    next.push_back({.token = edge.token, .count = state(edge.target).count});
    i = edge.next;
  }
}

size_t SuffixAutomaton::memory_bytes() const {
  return states_.capacity() * sizeof(State) + edges_.capacity() * sizeof(Edge) + places_.capacity() * sizeof(int32_t);
}

}  // namespace quire
