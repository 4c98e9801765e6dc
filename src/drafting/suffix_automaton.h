// A suffix automaton of one or several token texts, with the number of times that each context occurred: which tokens
// followed the last ones before, and how often (Blumer et al., Theoretical Computer Science 40, 1985).
//
// A state stands for strings that end at the same places; its link leads to the longest suffix that ends at more. At
// most 2 states and 3 edges a token, whatever the texts are (about 80 bytes a token for language, 180 at most), and
// O(max_context) hash lookups a token. One thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace quire {

class SuffixAutomaton {
 public:
  // A string that occurred: the `length` last tokens before some place.
  struct Context {
    int32_t state = 0;
    int32_t length = 0;
  };
  struct Next {
    int32_t token = 0;
    int64_t count = 0;  // how often it followed
  };

  // Contexts are at most `max_context` tokens long.
  explicit SuffixAutomaton(int max_context);

  // What is appended from here on is another text: no context reaches over the border.
  void begin_text();
  void append(int32_t token);

  // The end of the text that is appended to. Its count includes that end, which nothing follows yet.
  Context end() const { return end_; }
  // The longest end of `tokens` that occurred.
  Context match(std::span<const int32_t> tokens) const;
  // The longest shorter end of the context that occurred at more places. Not of the empty one.
  Context shorten(Context context) const;
  // The context and a token that has followed it, at its full length or without its first token.
  Context advance(Context context, int32_t token) const;
  // How often it occurred; of the empty one: how many tokens there are.
  int64_t count(Context context) const { return states_[static_cast<size_t>(context.state)].count; }
  // Overwrites `next` with at most `max_next` tokens that followed the context: the most frequent one, then those that
  // came last for the first time.
  void find_next(Context context, size_t max_next, std::vector<Next>& next) const;

  int64_t num_tokens() const { return states_[0].count; }
  size_t num_states() const { return states_.size(); }
  size_t num_edges() const { return edges_.size(); }
  size_t memory_bytes() const;

 private:
  static constexpr int32_t kNone = -1;
  struct State {
    int32_t length = 0;  // of its longest string
    int32_t link = kNone;
    int32_t count = 0;  // exact where its shortest string has at most max_context + 1 tokens
    int32_t first_edge = kNone;
  };
  struct Edge {
    int32_t from = 0;
    int32_t token = 0;
    int32_t target = 0;
    int32_t next = kNone;  // of the same state
  };

  State& state(int32_t index) { return states_[static_cast<size_t>(index)]; }
  const State& state(int32_t index) const { return states_[static_cast<size_t>(index)]; }
  int32_t add_state(int32_t length);
  void extend(int32_t token);
  int32_t split(int32_t from, int32_t token, int32_t target);
  // A state may have been split since the context was found: returns the half that holds the context.
  Context settle(Context context) const;
  Context follow(Context context, int32_t token) const;
  // Puts the edge with this token first where it is the most frequent one now.
  void promote(int32_t from, int32_t token);

  // The table of edges: places_ holds edge indices, found by (from, token) with linear probing.
  size_t place_of(int32_t from, int32_t token) const;
  int32_t find_edge(int32_t from, int32_t token) const { return places_[place_of(from, token)]; }
  void add_edge(int32_t from, int32_t token, int32_t target);
  void grow_places();

  int32_t max_context_;
  std::vector<State> states_;  // [0]: the empty string
  std::vector<Edge> edges_;
  std::vector<int32_t> places_;
  int32_t last_ = 0;  // the state of the whole text that is appended to
  Context end_;
};

}  // namespace quire
