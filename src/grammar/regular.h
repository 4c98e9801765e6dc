// Regular languages over bytes as hash-consed expressions, and their automata by derivatives: a language is the state,
// the language of what may follow a byte is the next one (Brzozowski, Derivatives of Regular Expressions, 1964).
// Intersection, complement and counted repetitions are operators like the others; states appear when they are asked
// for.
//
// One thread at a time. Every function that makes a language throws Error kLimit beyond the limits.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/thread_clock.h"
#include "grammar/grammar.h"

namespace quire {

inline uint64_t mix_hash(uint64_t hash, uint64_t value) {
  hash = (hash ^ value) * 0x9E3779B97F4A7C15;
  return hash ^ (hash >> 29);
}

struct ByteSet {
  std::array<uint64_t, 4> words = {};

  static ByteSet range(int first, int last);
  bool contains(int byte) const { return ((words[static_cast<size_t>(byte) / 64] >> (byte % 64)) & 1) != 0; }
  void add(int byte) { words[static_cast<size_t>(byte) / 64] |= uint64_t{1} << (byte % 64); }
  bool is_empty() const { return (words[0] | words[1] | words[2] | words[3]) == 0; }
  int count() const;
  int first() const;  // of a set that is not empty
  bool operator==(const ByteSet&) const = default;
  auto operator<=>(const ByteSet&) const = default;
};
ByteSet operator&(const ByteSet& a, const ByteSet& b);
ByteSet operator|(const ByteSet& a, const ByteSet& b);
ByteSet operator-(const ByteSet& a, const ByteSet& b);

template <typename Visit>
void for_each_byte(const ByteSet& set, Visit visit) {
  for (int word = 0; word < 4; ++word) {
    for (uint64_t bits = set.words[static_cast<size_t>(word)]; bits != 0; bits &= bits - 1) {
      visit(64 * word + __builtin_ctzll(bits));
    }
  }
}

class RegularLanguages {
 public:
  using Id = uint32_t;
  static constexpr Id kNothing = 0;     // no string
  static constexpr Id kEmpty = 1;       // the empty string
  static constexpr Id kEverything = 2;  // all strings of bytes

  struct Limits {
    size_t max_nodes = 200'000;
    int max_depth = 2'000;  // of operators; functions of this class recurse as deep
    size_t max_memory_bytes = 256 << 20;
  };
  explicit RegularLanguages(Limits limits);

  Id bytes(const ByteSet& set);
  Id literal(std::string_view text);
  Id concat(Id first, Id second);
  Id any_of(std::vector<Id> parts);
  Id all_of(std::vector<Id> parts);
  Id negate(Id inner);  // among all strings of bytes
  Id repeat(Id inner, int64_t min, int64_t max);
  Id character(const CharacterRanges& ranges);
  // Strings of digits, '-' and '.', at least one digit, whose digits are, as one number, a multiple of the divisor.
  Id multiple_of(uint32_t divisor) { return remainder(divisor, 0, false); }
  Id any_character() const { return any_character_; }
  Id any_text() const { return any_text_; }  // strings of whole characters
  // The same strings as they stand between the quotes of a JSON text: a quote, a backslash and control characters
  // escaped.
  Id json_escaped(Id inner);

  bool is_nullable(Id id) const { return nodes_[id].is_nullable; }
  // Whether there is a string in it. Exact.
  bool is_alive(Id id);

  // What may follow each byte. Disjoint sets; bytes of none of them lead to no string. A target may be a language
  // without a string: is_alive.
  struct Transition {
    ByteSet bytes;
    Id target;
  };
  std::span<const Transition> transitions(Id id);
  Id next(Id id, uint8_t byte);

  // A language that is unit{min,max} and `others` at once, `tail` behind; nothing where it is not written so.
  struct CountedLanguage {
    Id unit = kNothing;
    int64_t min = 0, max = 0;
    Id others = kEverything, tail = kEmpty;
  };
  std::vector<CountedLanguage> counted(Id id);
  // The language with other counts where the end of a repetition is far, further than so many bytes as a rule: the
  // smaller one ends there, the larger one never. Many languages have the same of both.
  enum class CountsAs : uint8_t { kSmaller, kLarger };
  Id with_near_counts(Id id, size_t num_bytes, CountsAs as);
  // Whether it is easily seen that `inner` has no string that `outer` does not have: alike but for counts.
  bool is_within(Id inner, Id outer);

  size_t size() const { return nodes_.size(); }
  size_t memory_bytes() const;
  void set_limits(Limits limits) { limits_ = limits; }
  // From here on, what takes longer of this thread's time throws Error kLimit, as far as it makes new languages or
  // asks.
  void allow_seconds(double seconds) {
    deadline_ = Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
  }
  void allow_any_time() { deadline_ = Clock::time_point::max(); }
  void check_time() const;

  // Work in units of about 20 ns: that of this class, and what its users add. Beyond what is allowed from the last
  // allow_work() on, all throws Error kLimit. Without such a call, there is no bound.
  void allow_work(size_t units) { work_ = 0, work_limit_ = units; }
  void count_work(size_t units) {
    work_ += units;
    if (work_ > work_limit_) refuse_work();
  }
  size_t work() const { return work_; }

 private:
  enum class Kind : uint8_t { kNothing, kEmpty, kBytes, kLiteral, kConcat, kAnyOf, kAllOf, kNot, kRepeat, kRemainder };
  struct Node {
    Kind kind = Kind::kNothing;
    bool is_nullable = false;
    bool is_plain = true;  // without intersection and complement: it has a string, or it is kNothing
    uint16_t depth = 0;
    // kBytes: index of the set. kLiteral: offset, size. kConcat: the parts. kAnyOf, kAllOf: offset, count of parts.
    // kNot, kRepeat: the inner language. kRemainder: divisor, remainder so far; min: whether there was a digit.
    uint32_t first = 0, second = 0;
    int32_t min = 0, max = 0;
    uint32_t shortest = 0;  // no string is shorter
  };
  using Clock = ThreadClock;
  enum class Life : uint8_t { kUnknown, kAlive, kDead };

  std::span<const Id> parts(const Node& node) const { return {parts_.data() + node.first, node.second}; }
  std::string_view text(const Node& node) const { return {text_.data() + node.first, node.second}; }
  void check_limits(const Node& node) const;
  [[noreturn]] static void refuse_work();
  uint32_t shortest_of(const Node& node) const;
  uint64_t hash(const Node& node) const;
  bool equal(const Node& a, const Node& b) const;
  Id intern(Node node);
  void rehash();
  Id remainder(uint32_t divisor, uint32_t remainder, bool has_digit);
  Id intern_parts(Kind kind, const std::vector<Id>& parts);
  void merge_repeats(std::vector<Id>& parts);
  bool contradicts(const std::vector<Id>& sorted);
  std::optional<Id> without_contradictions(const std::vector<Id>& sorted);
  Id utf8_tail(int num_bytes, const CharacterRanges& ranges);
  Id escaped_bytes(const ByteSet& set);
  Id escape_parts(Id id, const std::vector<Id>& inner);

  using TransitionList = std::vector<Transition>;
  void compute_transitions(Id id);
  TransitionList transitions_of_any(const std::vector<Id>& parts);
  TransitionList transitions_of_all(const std::vector<Id>& parts);
  void append_mapped(Id inner, Id tail, std::vector<TransitionList>& lists);
  TransitionList overlay(const std::vector<TransitionList>& lists);

  Limits limits_;
  Clock::time_point deadline_ = Clock::time_point::max();
  size_t work_ = 0, work_limit_ = std::numeric_limits<size_t>::max();
  std::vector<Node> nodes_;
  std::vector<Id> parts_;
  std::vector<ByteSet> sets_;
  std::string text_;
  std::vector<uint32_t> table_;  // open addressing: id + 1, a power of two
  std::vector<TransitionList> transitions_;
  std::vector<bool> has_transitions_;
  std::vector<Life> life_;
  std::unordered_map<uint64_t, Id> near_counts_;  // of a language, a number of bytes and the direction
  size_t transition_bytes_ = 0;
  Id any_character_ = kNothing, any_text_ = kNothing;
};

}  // namespace quire
